import { openFilesystemStore } from '../protocol/storage/filesystem.ts';
import { MemoryObjectStore } from '../protocol/storage/memory.ts';
import type { ObjectStore } from '../protocol/storage/object-store.ts';
import type { RequestReport } from '../protocol/storage/requests.ts';
import { requireStorageOptions, type StorageConfig } from './config.ts';

export type OpenStoreOptions = {
  readonly signal: AbortSignal;
  /** Called after every request, for metrics; must not throw. */
  readonly onRequest?: ((report: RequestReport) => void) | undefined;
};

/**
 * Opens the configured storage. Close it when done.
 * Errors: CONFIG_INVALID where `storage` cannot be used; what the storage itself throws.
 */
export async function openObjectStore(
  storage: StorageConfig,
  { signal, onRequest }: OpenStoreOptions,
): Promise<ObjectStore> {
  const options = requireStorageOptions(storage);
  signal.throwIfAborted();
  switch (options.type) {
    case 'memory':
      return new MemoryObjectStore({ onRequest });
    case 'fs':
      return openFilesystemStore({ rootPath: options.rootPath, onRequest });
    case 's3': {
      // Only here: the SDK takes 12 MB of memory that other storages do not need.
      const { openS3Store } = await import('../protocol/storage/s3.ts');
      return openS3Store({ ...options, onRequest }, signal);
    }
    default:
      return options satisfies never;
  }
}
