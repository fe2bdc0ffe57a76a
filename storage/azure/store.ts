import type {
  BlobDownloadResponseParsed,
  ContainerListBlobFlatSegmentResponse,
} from '@azure/storage-blob';

import { SyncError } from '../../protocol/errors.ts';
import { openAzureContainer } from './client.ts';
import { azureFacts, isMissingBlob } from './errors.ts';
import type { AzureStoreOptions } from './options.ts';
import { AzureSession } from './session.ts';
import { AzureWriter, quoted } from './writer.ts';
import type { Deadline } from '../deadline.ts';
import { AZURE_LIST_PAGE, STALL_TIMEOUT_MS } from '../limits.ts';
import { compareNames } from '../names.ts';
import type {
  FetchedObject,
  GetOptions,
  ListOptions,
  ObjectBody,
  ObjectInfo,
  ObjectStore,
  PutIfOptions,
} from '../object-store.ts';
import { etagIfOurs } from '../own-write.ts';
import { fetchedFrom } from '../http/response-body.ts';
import type { Operation } from '../storage-session.ts';

const INIT_TIMEOUT_MS = 20 * 1000;

/** Opens a container as an object store; with `createContainer` it is made where missing. The SDK is loaded here. */
export async function openAzureStore(
  options: AzureStoreOptions,
  signal: AbortSignal = new AbortController().signal,
): Promise<AzureObjectStore> {
  const store = new AzureObjectStore(new AzureSession(await openAzureContainer(options), options));
  if (options.createContainer === true) {
    try {
      await store.requireContainer(signal);
    } catch (error) {
      await store.close();
      throw error;
    }
  }
  return store;
}

/**
 * A container of Azure Blob storage.
 *
 * Single requests are repeated by the SDK (three tries); rounds are the caller's. Bodies above 8 MiB go as blocks, and
 * the request that makes a blob of them carries the condition.
 */
export class AzureObjectStore implements ObjectStore {
  readonly #session: AzureSession;
  readonly #writer: AzureWriter;

  constructor(session: AzureSession) {
    this.#session = session;
    this.#writer = new AzureWriter(session);
  }

  /** Makes the container unless it is there. */
  async requireContainer(signal: AbortSignal): Promise<void> {
    const operation = { kind: 'create-container', action: 'create' } as const;
    const timeoutMs = this.#session.options.initTimeoutMs ?? INIT_TIMEOUT_MS;
    await this.#session.within(operation, { signal, timeoutMs }, async (abortSignal) => {
      const container = await this.#session.container();
      try {
        // Looking needs less permission than making, which is asked for once in the life of a fleet.
        await this.#session.request(operation, () => container.getProperties({ abortSignal }));
        return;
      } catch (error) {
        if (azureFacts(error).status !== 404) {
          throw error;
        }
      }
      try {
        await this.#session.request(operation, () => container.create({ abortSignal }));
      } catch (error) {
        // Another agent that starts at the same time was first.
        if (azureFacts(error).code !== 'ContainerAlreadyExists') {
          throw error;
        }
      }
    });
  }

  /**
   * Azure cannot begin after a name: names up to `startAfter` are asked for and left out here. A request gives up to
   * 5,000 names.
   */
  async *list(prefix: string, options: ListOptions): AsyncGenerator<ObjectInfo, void, void> {
    const { signal, startAfter = '' } = options;
    const operation = { kind: 'list', action: `list ${prefix}*` } as const;
    let token: string | undefined;
    do {
      const continuationToken = token;
      const page = await this.#session.within(operation, { signal }, (abortSignal) =>
        this.#session.request(operation, async () => {
          const pages = (await this.#session.container())
            .listBlobsFlat({ prefix: this.#session.prefix + prefix, abortSignal })
            .byPage({
              maxPageSize: this.#session.options.listPageNames ?? AZURE_LIST_PAGE,
              ...(continuationToken === undefined ? {} : { continuationToken }),
            });
          return (await pages.next()).value as ContainerListBlobFlatSegmentResponse;
        }),
      );
      const infos = page.segment.blobItems.map(({ name, properties }) => ({
        name: name.slice(this.#session.prefix.length),
        sizeBytes: properties.contentLength ?? 0,
        etag: quoted(properties.etag),
        lastModifiedMs: properties.lastModified.getTime(),
      }));
      // The service's order is that of the characters; names beyond U+FFFF, which no agent writes, may differ from bytes.
      for (const info of infos.toSorted((a, b) => compareNames(a.name, b.name))) {
        signal.throwIfAborted();
        if (info.name !== '' && compareNames(info.name, startAfter) > 0) {
          yield info;
        }
      }
      token = page.continuationToken || undefined;
      if (token !== undefined && token === continuationToken) {
        // It would never end.
        throw new SyncError('STORAGE_FAILED', `the listing of ${prefix}* has no next page`, {
          hint: 'Check that the storage implements List Blobs.',
          retryable: true,
        });
      }
    } while (token !== undefined);
  }

  async get(name: string, options: GetOptions): Promise<FetchedObject | undefined> {
    const { firstBytes, signal } = options;
    const operation = { kind: 'load', action: `load ${name}` } as const;
    signal.throwIfAborted();
    const deadline = this.#session.deadline(operation, signal);
    const mapped = (error: unknown) => deadline.reasonOf(this.#session.mapped(error, operation));
    try {
      const response = await this.#download(name, { operation, firstBytes, deadline });
      if (response === undefined) {
        deadline[Symbol.dispose]();
        return undefined;
      }
      return fetchedFrom(
        {
          stream: response.readableStreamBody,
          contentLength: response.contentLength,
          contentRange: response.contentRange,
          etag: quoted(response.etag),
        },
        {
          name,
          stallTimeoutMs: this.#session.options.stallTimeoutMs ?? STALL_TIMEOUT_MS,
          deadline,
          mapped,
        },
      );
    } catch (error) {
      deadline[Symbol.dispose]();
      throw mapped(error);
    }
  }

  async create(name: string, body: ObjectBody, signal: AbortSignal): Promise<'stored' | 'exists'> {
    const condition = { ifNoneMatch: '*' };
    const { etag } = await this.#writer.store(name, body, { signal, condition });
    return etag === undefined ? 'exists' : 'stored';
  }

  async put(name: string, body: ObjectBody, signal: AbortSignal): Promise<void> {
    await this.#writer.store(name, body, { signal, condition: {} });
  }

  async putIfUnchanged(
    name: string,
    bytes: Uint8Array,
    options: PutIfOptions,
  ): Promise<string | undefined> {
    const { signal } = options;
    const condition = options.etag === undefined ? { ifNoneMatch: '*' } : { ifMatch: options.etag };
    const { etag, ambiguous } = await this.#writer.storeBytes(name, bytes, { signal, condition });
    return ambiguous ? etagIfOurs(this, { name, bytes, signal }) : etag;
  }

  async delete(name: string, signal: AbortSignal): Promise<void> {
    const operation = { kind: 'delete', action: `delete ${name}` } as const;
    await this.#session.within(operation, { signal }, async (abortSignal) => {
      try {
        await this.#session.request(operation, async () =>
          (await this.#session.blob(name)).delete({ abortSignal }),
        );
      } catch (error) {
        if (!isMissingBlob(error)) {
          throw error;
        }
      }
    });
  }

  async close(): Promise<void> {
    this.#session.opened.close();
  }

  async #download(
    name: string,
    what: { operation: Operation; firstBytes: number | undefined; deadline: Deadline },
  ): Promise<BlobDownloadResponseParsed | undefined> {
    const { operation, firstBytes, deadline } = what;
    const count = firstBytes === undefined ? undefined : Math.max(1, firstBytes);
    try {
      return await this.#session.request(operation, async () =>
        // No resuming: what reads an object twice is the caller's decision.
        (await this.#session.blob(name)).download(0, count, {
          abortSignal: deadline.signal,
          maxRetryRequests: 0,
        }),
      );
    } catch (error) {
      if (isMissingBlob(error)) {
        return undefined;
      }
      if (firstBytes !== undefined && azureFacts(error).status === 416) {
        // No range of an empty blob can be had.
        return this.#download(name, { ...what, firstBytes: undefined });
      }
      throw error;
    }
  }
}
