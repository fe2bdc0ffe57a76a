import { openFilesystemStore } from '../storage/folder/store.ts';
import { MemoryObjectStore } from '../storage/memory.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import { proxyEnvironment } from '../storage/http/proxy-rules.ts';
import type { RequestReport } from '../storage/requests.ts';
import { MarkedStore, UpdateMarker, type UpdateMarkerOptions } from '../storage/update-marker.ts';
import { sleep } from './pacing/backoff.ts';
import { requireStorageOptions, type StorageConfig } from './config/config.ts';
import type { StorageOptions } from './config/storage-options.ts';
import { systemClock } from './pacing/system-clock.ts';

export type OpenStoreOptions = {
  readonly signal: AbortSignal;
  /** Called after every request, for metrics; must not throw. */
  readonly onRequest?: ((report: RequestReport) => void) | undefined;
  /** Where the configuration asks for upstream's update marker: how it is kept. */
  readonly marker?: MarkerKeeping | undefined;
};

/** How often the update marker is written, and who hears whether that works. */
export type MarkerKeeping = Pick<UpdateMarkerOptions, 'ownObjectsGapMs' | 'onWritten' | 'onFailed'>;

/**
 * Opens the configured storage. Close it when done.
 * Errors: CONFIG_INVALID where `storage` cannot be used; what the storage itself throws.
 */
export async function openObjectStore(
  storage: StorageConfig,
  { signal, onRequest, marker }: OpenStoreOptions,
): Promise<ObjectStore> {
  const options = requireStorageOptions(storage);
  signal.throwIfAborted();
  const store = await openStore(options, { signal, onRequest });
  const marking = findMarkerOptions(storage);
  if (marking === undefined) {
    return store;
  }
  return new MarkedStore(
    store,
    new UpdateMarker({
      ownObjectsGapMs: 0,
      ...marker,
      store,
      globalPrefix: marking.globalPrefix,
      nowNs: () => systemClock.nowNs(),
      monotonicMs: () => performance.now(),
      sleep,
    }),
  );
}

/** Options of a storage whose update marker is to be kept and looked at; undefined: it is not. */
export function findMarkerOptions(
  storage: StorageConfig,
): { readonly globalPrefix: string; readonly forceListIntervalMs: number } | undefined {
  const options = requireStorageOptions(storage);
  if (!('useUpdateMarker' in options) || !options.useUpdateMarker) {
    return undefined;
  }
  const { globalPrefix, updateMarkerForceListIntervalMs: forceListIntervalMs } = options;
  return { globalPrefix, forceListIntervalMs };
}

async function openStore(
  options: StorageOptions,
  { signal, onRequest }: OpenStoreOptions,
): Promise<ObjectStore> {
  const proxies = proxyEnvironment(process.env);
  switch (options.type) {
    case 'memory':
      return new MemoryObjectStore({ onRequest });
    case 'fs':
      return openFilesystemStore({ rootPath: options.rootPath, onRequest });
    case 's3': {
      // Only here: the SDK takes 12 MB of memory that other storages do not need.
      const { openS3Store } = await import('../storage/s3/store.ts');
      return openS3Store({ ...options, proxies, onRequest }, signal);
    }
    case 'azure': {
      const { openAzureStore } = await import('../storage/azure/store.ts');
      return openAzureStore({ ...options, proxies, onRequest }, signal);
    }
    default:
      return options satisfies never;
  }
}
