import { drain } from './bodies.ts';
import type { ObjectStore } from './object-store.ts';

/** True if there is an object of this name. Asked for by the name, because a listing may lag. Errors: those of the store. */
export async function isStored(
  store: Pick<ObjectStore, 'get'>,
  name: string,
  signal: AbortSignal,
): Promise<boolean> {
  const found = await store.get(name, { signal, firstBytes: 1 });
  if (found !== undefined) {
    await drain(found.body);
  }
  return found !== undefined;
}
