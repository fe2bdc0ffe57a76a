/** True if the first of two times, each as two halves, is later. */
export function isAbove(aHi: number, aLo: number, bHi: number, bLo: number): boolean {
  return aHi > bHi || (aHi === bHi && aLo > bLo);
}

/** The highest of many times, given as two halves each: no bigint per entry. */
export class HighestTime {
  #hi = 0;
  #lo = 0;

  note(timeHi: number, timeLo: number): void {
    if (isAbove(timeHi, timeLo, this.#hi, this.#lo)) {
      this.#hi = timeHi;
      this.#lo = timeLo;
    }
  }

  raise(other: HighestTime): void {
    this.note(other.#hi, other.#lo);
  }

  get ns(): bigint {
    return (BigInt(this.#hi) << 32n) | BigInt(this.#lo);
  }
}
