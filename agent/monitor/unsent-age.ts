/** Follows since when the oldest local change waits that is in no stored object. */
export class UnsentAge {
  #pendingMs: number | undefined;
  /** Of what an object that is being made has taken. */
  #takenMs: number | undefined;
  #sendingMs: number | undefined;

  /** A look at the LMDB: whether anything is pending. */
  looked(isPending: boolean, nowMs: number): void {
    if (isPending) {
      this.#pendingMs ??= nowMs;
    } else {
      this.#takenMs = this.#pendingMs;
      this.#pendingMs = undefined;
    }
  }

  /** What was pending is in an object, which is on its way. */
  generated(nowMs: number): void {
    this.#sendingMs = this.#takenMs ?? this.#pendingMs ?? nowMs;
    this.#takenMs = undefined;
  }

  /** The object is stored. */
  stored(): void {
    this.#sendingMs = undefined;
  }

  /** How long it has been waiting; 0: nothing waits. */
  ageMs(nowMs: number): number {
    return Math.max(0, nowMs - (this.#sendingMs ?? this.#pendingMs ?? nowMs));
  }
}
