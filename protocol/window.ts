/**
 * The bytes that arrived and are not parsed yet, in one piece. While nothing is left over, a chunk is lent through
 * without a copy; the rest of a chunk and everything added to it are copied. Grows by doubling with what arrived.
 */
export class Window {
  buffer: Uint8Array = new Uint8Array(0);
  start = 0;
  end = 0;
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
    if (this.end + more <= this.#own.length) {
      return;
    }
    let target = this.#own;
    if (needed > target.length) {
      target = new Uint8Array(Math.max(MIN_BYTES, 2 * this.length, needed));
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
const KEPT_BYTES = 8 * 1024 * 1024;
