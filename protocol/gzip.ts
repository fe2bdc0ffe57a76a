import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { GZIP_MEMBERS_IN_FLIGHT } from './limits.ts';

const compress = promisify<Uint8Array, object, Buffer>(gzip);
const CHUNK_BYTES = 256 * 1024;

export type GzipWriterOptions = {
  readonly level: number;
  /** Takes the compressed bytes, in order and one call after the other. */
  readonly write: (chunk: Uint8Array) => Promise<void>;
};

/**
 * Compresses blocks (at least one) beside each other on zlib's threads, each as a gzip member of its own: one stream keeps one core busy
 * however many there are (47 MB at level 1: 0.39 s; as members of 1 MiB on two cores 0.21 s, 0.1 % larger). Holds at most
 * {@link GZIP_MEMBERS_IN_FLIGHT} blocks and what became of them.
 *
 * Errors: what `write` throws, from whichever call comes next.
 */
export class GzipWriter {
  readonly #options: GzipWriterOptions;
  /** For each member on its way: settles when it and those before it are written. */
  readonly #inFlight: Promise<void>[] = [];
  #last: Promise<void> = Promise.resolve();

  constructor(options: GzipWriterOptions) {
    this.#options = options;
  }

  /** Begins with the next member, of these blocks, which belong to the writer from now on; waits while too many are on their way. */
  async add(blocks: readonly Uint8Array[]): Promise<void> {
    const { level, write } = this.#options;
    const [only = Buffer.of()] = blocks;
    const member = compress(blocks.length === 1 ? only : Buffer.concat(blocks), {
      level,
      chunkSize: CHUNK_BYTES,
    });
    this.#last = this.#last.then(async () => write(await member));
    // Reported by whoever waits next; until then neither may count as unhandled.
    this.#last.catch(() => undefined);
    member.catch(() => undefined);
    this.#inFlight.push(this.#last);
    if (this.#inFlight.length >= GZIP_MEMBERS_IN_FLIGHT) {
      await this.#inFlight.shift();
    }
  }

  /** Resolves when everything is written. */
  async finish(): Promise<void> {
    await this.#last;
  }

  /** Resolves when nothing is on its way any more, whatever became of it. */
  async settle(): Promise<void> {
    await this.#last.catch(() => undefined);
  }
}
