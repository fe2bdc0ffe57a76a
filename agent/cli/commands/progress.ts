import { Presets, SingleBar } from 'cli-progress';
import { formatBytes } from '../../log/output-format.ts';

/** Where a bar can be shown: standard error, where that is a terminal. */
export type ProgressTerminal = NodeJS.WritableStream & { readonly isTTY?: boolean | undefined };

/** What is done so soon needs no bar. */
const SHOWN_AFTER_MS = 500;
const FRAMES_PER_SECOND = 5;

export type ProgressOptions = {
  readonly label: string;
  /** undefined: nobody knows. */
  readonly total?: number | undefined;
  readonly unit: 'bytes' | 'entries' | 'objects';
};

/**
 * A progress bar on a terminal, for what takes long; nothing at all elsewhere. Clears itself when it is stopped, so
 * that only the output of the command stays.
 */
export class Progress implements Disposable {
  readonly #bar: SingleBar | undefined;
  readonly #options: ProgressOptions;
  readonly #afterMs: number;
  readonly #startedMs = performance.now();
  #shown = false;
  #value = 0;

  constructor(
    terminal: ProgressTerminal | undefined,
    options: ProgressOptions & { readonly shownAfterMs?: number | undefined },
  ) {
    this.#options = options;
    this.#afterMs = options.shownAfterMs ?? SHOWN_AFTER_MS;
    if (terminal?.isTTY !== true) {
      return;
    }
    const shown = (value: number) =>
      options.unit === 'bytes' ? formatBytes(value) : value.toLocaleString('en');
    const known = options.total !== undefined && options.total > 0;
    this.#bar = new SingleBar(
      {
        stream: terminal,
        // The bar is silent on its own timer while a synchronous step runs; then it draws what it was told last.
        fps: FRAMES_PER_SECOND,
        hideCursor: true,
        clearOnComplete: true,
        formatValue: (value, _options, type) =>
          type === 'value' || type === 'total' ? shown(value) : String(value),
        format: known
          ? `${options.label} {bar} {percentage} % | {value} of {total}${unitText(options)} | {eta_formatted} left`
          : `${options.label} {value}${unitText(options)}`,
      },
      Presets.shades_classic,
    );
  }

  /** `count` more of them are done. */
  add(count: number): void {
    this.#value += count;
    const bar = this.#bar;
    if (bar === undefined) {
      return;
    }
    if (this.#shown) {
      bar.update(this.#value);
    } else if (performance.now() - this.#startedMs >= this.#afterMs) {
      this.#shown = true;
      bar.start(this.#options.total ?? 0, this.#value);
    }
  }

  /** None of them is done. */
  restart(): void {
    this.#value = 0;
  }

  /** Passes chunks through and counts their bytes. */
  async *count(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, void> {
    for await (const chunk of chunks) {
      this.add(chunk.length);
      yield chunk;
    }
  }

  stop(): void {
    if (this.#shown) {
      this.#bar?.stop();
    }
    this.#shown = false;
  }

  [Symbol.dispose](): void {
    this.stop();
  }
}

function unitText({ unit }: ProgressOptions): string {
  return unit === 'bytes' ? '' : ` ${unit}`;
}
