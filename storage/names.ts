/**
 * Orders names by their UTF-8 bytes, as every store lists them. JavaScript's own order differs from it where
 * a surrogate pair (a code point above U+FFFF) meets U+E000 to U+FFFF.
 */
export function compareNames(a: string, b: string): number {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) {
    const unitA = a.charCodeAt(i);
    const unitB = b.charCodeAt(i);
    if (unitA !== unitB) {
      const pairA = isSurrogate(unitA);
      return pairA === isSurrogate(unitB) ? unitA - unitB : pairA ? 1 : -1;
    }
  }
  return a.length - b.length;
}

function isSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdfff;
}
