import { openFilesystemStore } from '../storage/folder/store.ts';
import { MemoryObjectStore } from '../storage/memory.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import { proxyEnvironment } from '../storage/http/proxy-rules.ts';
import type { KeyReload } from '../storage/http/key-reload.ts';
import type { RequestReport } from '../storage/requests.ts';
import { MarkedStore, UpdateMarker, type UpdateMarkerOptions } from '../storage/update-marker.ts';
import { sleep } from './pacing/sleep.ts';
import { unfinished } from './pacing/unfinished.ts';
import { requireStorageOptions, type StorageConfig } from './config/config.ts';
import { systemClock } from './pacing/system-clock.ts';

export type OpenStoreOptions = {
  readonly signal: AbortSignal;
  /** Called after every request, for metrics; must not throw. */
  readonly onRequest?: ((report: RequestReport) => void) | undefined;
  /** Says when the configured keys are to be taken anew. */
  readonly keyReload?: KeyReload | undefined;
};

/** How often the update marker is written, and who hears whether that works. */
export type MarkerOptions = Pick<UpdateMarkerOptions, 'ownObjectsGapMs' | 'onWritten' | 'onFailed'>;

/**
 * Opens the configured storage as the commands use it: with upstream's update marker, where that is configured. Close it when
 * done. Errors: CONFIG_INVALID where `storage` cannot be used; what the storage itself throws.
 */
export async function openObjectStore(
  storage: StorageConfig,
  options: OpenStoreOptions,
): Promise<ObjectStore> {
  return markedStore(await openPlainStore(storage, options), storage, { ownObjectsGapMs: 0 });
}

/** Opens the configured storage and nothing around it. Close it when done. Errors: as {@link openObjectStore}. */
export async function openPlainStore(
  storage: StorageConfig,
  { signal, ...given }: OpenStoreOptions,
): Promise<ObjectStore> {
  const options = requireStorageOptions(storage);
  signal.throwIfAborted();
  const hooks = {
    ...given,
    proxies: proxyEnvironment(process.env),
    onOperation: (action: string) => unfinished.begin(`the storage (${action})`),
  };
  switch (options.type) {
    case 'memory':
      return new MemoryObjectStore(hooks);
    case 'fs':
      return openFilesystemStore({ rootPath: options.rootPath, ...hooks });
    case 's3': {
      // Only here: the SDK takes 12 MB of memory that other storages do not need.
      const { openS3Store } = await import('../storage/s3/store.ts');
      return openS3Store({ ...options, ...hooks }, signal);
    }
    case 'azure': {
      const { openAzureStore } = await import('../storage/azure/store.ts');
      return openAzureStore({ ...options, ...hooks }, signal);
    }
    default:
      return options satisfies never;
  }
}

/** The plain store with upstream's update marker kept, where `storage` asks for that; closing it closes the plain one. */
export function markedStore(
  store: ObjectStore,
  storage: StorageConfig,
  options: MarkerOptions,
): ObjectStore {
  const marking = findMarkerOptions(storage);
  if (marking === undefined) {
    return store;
  }
  return new MarkedStore(
    store,
    new UpdateMarker({
      ...options,
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
