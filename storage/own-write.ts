import type { ObjectStore } from './object-store.ts';

/**
 * The stored object's etag if it holds exactly these bytes: then a lost answer was that of our own write. For conditional
 * writes that were repeated and then refused.
 */
export async function etagIfOurs(
  store: ObjectStore,
  write: { readonly name: string; readonly bytes: Uint8Array; readonly signal: AbortSignal },
): Promise<string | undefined> {
  const { name, bytes, signal } = write;
  const stored = await store.get(name, { signal });
  const chunks: Uint8Array[] = [];
  for await (const chunk of stored?.body ?? []) {
    if (stored?.sizeBytes !== bytes.byteLength) {
      return undefined;
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).equals(bytes) ? stored?.etag : undefined;
}
