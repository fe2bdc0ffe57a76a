import { Session, type Profiler } from 'node:inspector';

/**
 * Which pieces of our own code ran, from V8's block coverage, of this process. A take costs about a millisecond, so
 * inputs are run in batches.
 */
export class CodeCoverage implements Disposable {
  readonly #session = new Session();
  readonly #isCounted: (url: string) => boolean;
  /** Per script, by offset in its source: 1 where it has ever run. */
  readonly #seen = new Map<string, Uint8Array>();
  #characters = 0;

  constructor(isCounted: (url: string) => boolean) {
    this.#isCounted = isCounted;
    this.#session.connect();
    this.#session.post('Profiler.enable');
    this.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  /** Characters of source code that have run so far. */
  get characters(): number {
    return this.#characters;
  }

  /** How many characters ran since the last take that had never run before; they count as seen from now on unless `peek`. */
  take(options: { readonly peek: boolean } = { peek: false }): number {
    let fresh = 0;
    for (const { url, functions } of this.#result()) {
      if (!this.#isCounted(url)) {
        continue;
      }
      for (const { ranges } of functions) {
        fresh += this.#note(url, ranges, options.peek);
      }
    }
    return fresh;
  }

  #result(): Profiler.ScriptCoverage[] {
    let result: Profiler.ScriptCoverage[] = [];
    // Within one thread the answer comes before the call returns.
    this.#session.post('Profiler.takePreciseCoverage', (error, answer) => {
      if (error !== null) {
        throw error;
      }
      result = answer.result;
    });
    return result;
  }

  /** The first range is the function, those behind it are blocks inside whose count differs. */
  #note(url: string, ranges: readonly Profiler.CoverageRange[], peek: boolean): number {
    const [whole] = ranges;
    if (whole === undefined || whole.count === 0) {
      return 0;
    }
    const { startOffset, endOffset } = whole;
    const ran = new Uint8Array(endOffset - startOffset);
    for (const { startOffset: from, endOffset: to, count } of ranges) {
      ran.fill(count > 0 ? 1 : 0, from - startOffset, to - startOffset);
    }
    const seen = this.#seenIn(url, endOffset);
    let fresh = 0;
    for (let i = 0; i < ran.length; i += 1) {
      if (ran[i] === 0 || seen[startOffset + i] === 1) {
        continue;
      }
      fresh += 1;
      if (!peek) {
        seen[startOffset + i] = 1;
      }
    }
    if (!peek) {
      this.#characters += fresh;
    }
    return fresh;
  }

  #seenIn(url: string, length: number): Uint8Array {
    const known = this.#seen.get(url) ?? new Uint8Array(0);
    if (known.length >= length) {
      return known;
    }
    const longer = new Uint8Array(Math.max(length, 2 * known.length));
    longer.set(known);
    this.#seen.set(url, longer);
    return longer;
  }

  [Symbol.dispose](): void {
    this.#session.disconnect();
  }
}
