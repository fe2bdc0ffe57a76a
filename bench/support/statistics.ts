/** The value below which this part of the samples lies (nearest rank); `part` from 0 to 1. */
export function quantile(samples: readonly number[], part: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  const rank = Math.min(sorted.length - 1, Math.max(0, Math.ceil(part * sorted.length) - 1));
  return sorted[rank] ?? Number.NaN;
}

/** The middle one; of an even number the mean of the two in the middle, not the better one. */
export function median(samples: readonly number[]): number {
  const sorted = samples.toSorted((a, b) => a - b);
  const [low, high] = [(sorted.length - 1) >> 1, sorted.length >> 1];
  return ((sorted[low] ?? Number.NaN) + (sorted[high] ?? Number.NaN)) / 2;
}

/** Runs the work several times, one after the other, and gives the median of each field. */
export async function medianOf<T extends Readonly<Record<string, number>>>(
  times: number,
  work: () => Promise<T>,
): Promise<T> {
  const results: T[] = [];
  for (let i = 0; i < times; i++) {
    results.push(await work());
  }
  const keys = Object.keys(results[0] as T);
  return Object.fromEntries(
    keys.map((key) => [key, median(results.map((result) => result[key] as number))]),
  ) as T;
}
