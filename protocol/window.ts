/**
 * The bytes that arrived and are not parsed yet, in one piece. While nothing is left over, a chunk is lent through
 * without a copy; the rest of a chunk and everything added to it are copied. Grows by doubling with what arrived.
 */
export class Window {
  buffer: Uint8Array = new Uint8Array(0);
  start = 0;
  end = 0;
  /** Bytes from {@link start} on that are of use before anything can be parsed; 0: unknown. Bounds growth, claims nothing. */
  wanted = 0;
  #own: Uint8Array = new Uint8Array(0);

  get length(): number {
    return this.end - this.start;
  }

  /** Appends a chunk, which is borrowed until {@link consume}. */
  add(chunk: Uint8Array): void {
    if (this.length === 0) {
      this.buffer = chunk;
      this.start = 0;
      this.end = chunk.length;
      return;
    }
    this.#reserve(chunk.length);
    this.#own.set(chunk, this.end);
    this.end += chunk.length;
  }

  /** Everything before `position` is done; what is left of a borrowed chunk is copied. */
  consume(position: number): void {
    this.start = position;
    if (this.length === 0) {
      // A window that one huge entry blew up is not kept for the rest of the object.
      this.#own = this.#own.length > KEPT_BYTES ? new Uint8Array(0) : this.#own;
      this.buffer = this.#own;
      this.start = 0;
      this.end = 0;
    } else if (this.buffer !== this.#own) {
      const rest = this.buffer.subarray(this.start, this.end);
      if (this.#own.length < rest.length) {
        this.#own = new Uint8Array(Math.max(MIN_BYTES, rest.length));
      }
      this.#own.set(rest, 0);
      this.buffer = this.#own;
      this.start = 0;
      this.end = rest.length;
    }
  }

  #reserve(more: number): void {
    const needed = this.length + more;
    // As in consume: the rest of the object does not keep what one huge entry needed.
    const isTooLarge =
      this.#own.length > KEPT_BYTES && Math.max(2 * needed, this.wanted) <= KEPT_BYTES;
    if (this.end + more <= this.#own.length && !isTooLarge) {
      return;
    }
    let target = this.#own;
    if (needed > target.length || isTooLarge) {
      const doubled = 2 * this.length;
      // Of a large entry no more than it takes: doubling would hold twice as much at its end.
      const grown = this.wanted > 0 ? Math.min(doubled, this.wanted + SLACK_BYTES) : doubled;
      target = new Uint8Array(Math.max(MIN_BYTES, grown, needed));
    }
    // Within one buffer this moves the rest to the front.
    target.set(this.#own.subarray(this.start, this.end), 0);
    this.end = this.length;
    this.start = 0;
    this.#own = target;
    this.buffer = target;
  }
}

const MIN_BYTES = 64 * 1024;
/** What a chunk may bring beyond the entry that was waited for. */
const SLACK_BYTES = 1024 * 1024;
const KEPT_BYTES = 8 * 1024 * 1024;
