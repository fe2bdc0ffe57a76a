/** Does it for every item, so many at a time. Rejects with the first error, when nothing new is begun for that place. */
export async function eachConcurrently<T>(
  items: readonly T[],
  concurrency: number,
  act: (item: T) => Promise<void>,
): Promise<void> {
  let at = 0;
  const worker = async (): Promise<void> => {
    while (at < items.length) {
      const item = items[at++];
      if (item !== undefined) {
        await act(item);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, items.length) }, worker));
}
