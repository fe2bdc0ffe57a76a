import type { GetObjectCommandOutput, ListObjectsV2CommandOutput } from '@aws-sdk/client-s3';

import { SyncError } from '../../protocol/errors.ts';
import { bytesBody } from '../bodies.ts';
import type { Deadline } from '../deadline.ts';
import { S3_LIST_PAGE, STALL_TIMEOUT_MS } from '../limits.ts';
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
import { requireAnswer, requireEtag, strongEtag } from './answers.ts';
import { openS3Client } from './client.ts';
import { isMissingObject, s3Facts } from './errors.ts';
import type { S3StoreOptions } from './options.ts';
import type { S3Operation } from './session.ts';
import { S3Session } from './session.ts';
import { S3Writer } from './writer.ts';

const INIT_TIMEOUT_MS = 20 * 1000;
/** Opens a bucket as an object store; with `createBucket` it is made where missing. The SDK is loaded here. */
export async function openS3Store(
  options: S3StoreOptions,
  signal: AbortSignal = new AbortController().signal,
): Promise<S3ObjectStore> {
  const store = new S3ObjectStore(new S3Session(await openS3Client(options), options));
  if (options.createBucket === true) {
    try {
      await store.requireBucket(signal);
    } catch (error) {
      await store.close();
      throw error;
    }
  }
  return store;
}

/**
 * A bucket of S3 or of a server that speaks its protocol and knows conditional writes.
 *
 * Single requests are repeated by the SDK (three tries); rounds are the caller's. Bodies above 8 MiB go as multipart
 * uploads, whose last request carries the condition, and which are given up where anything fails.
 */
export class S3ObjectStore implements ObjectStore {
  readonly #session: S3Session;
  readonly #writer: S3Writer;

  constructor(session: S3Session) {
    this.#session = session;
    this.#writer = new S3Writer(session);
  }

  /** Makes the bucket unless it is there. */
  async requireBucket(signal: AbortSignal): Promise<void> {
    const { sdk, client } = this.#session.opened;
    const Bucket = this.#session.options.bucket;
    const operation = {
      kind: 'create-bucket',
      action: 'create',
      permission: 's3:CreateBucket',
    } as const;
    const timeoutMs = this.#session.options.initTimeoutMs ?? INIT_TIMEOUT_MS;
    await this.#session.within(operation, { signal, timeoutMs }, async (abortSignal) => {
      const region = await client.config.region();
      try {
        await this.#session.request(operation, () =>
          client.send(new sdk.HeadBucketCommand({ Bucket }), { abortSignal }),
        );
        return;
      } catch (error) {
        if (!isMissingObject(error)) {
          throw error;
        }
      }
      try {
        await this.#session.request(operation, () =>
          client.send(
            new sdk.CreateBucketCommand({
              Bucket,
              // us-east-1 is the one region that must not be named.
              ...(region === 'us-east-1'
                ? {}
                : {
                    CreateBucketConfiguration: {
                      LocationConstraint: region as 'eu-west-1',
                    },
                  }),
            }),
            { abortSignal },
          ),
        );
      } catch (error) {
        // Another agent that starts at the same time was first.
        if (s3Facts(error).name !== 'BucketAlreadyOwnedByYou') {
          throw error;
        }
      }
    });
  }

  async *list(prefix: string, options: ListOptions): AsyncGenerator<ObjectInfo, void, void> {
    const { sdk, client } = this.#session.opened;
    const { hideFolders = false, prefixFolders = false, bucket } = this.#session.options;
    const oneLevel = hideFolders || prefixFolders;
    const { signal, startAfter = '' } = options;
    const operation = {
      kind: 'list',
      action: `list ${prefix}*`,
      permission: 's3:ListBucket',
    } as const;
    let token: string | undefined;
    do {
      const continuation = token;
      const page = await this.#session.within(operation, { signal }, (abortSignal) =>
        this.#session.request(operation, () =>
          client.send(
            new sdk.ListObjectsV2Command({
              Bucket: bucket,
              Prefix: this.#session.location(prefix).Key,
              MaxKeys: S3_LIST_PAGE,
              ...(oneLevel ? { Delimiter: '/' } : {}),
              ...(startAfter === '' ? {} : { StartAfter: this.#session.location(startAfter).Key }),
              ...(continuation === undefined ? {} : { ContinuationToken: continuation }),
            }),
            { abortSignal },
          ),
        ),
      );
      requireAnswer(isListing(page), operation, {
        session: this.#session,
        lacks: 'no ListBucketResult',
      });
      for (const { Key = '', Size = 0, ETag = '', LastModified } of page.Contents ?? []) {
        signal.throwIfAborted();
        const name = Key.slice(this.#session.location('').Key.length);
        if (name !== '' && !(oneLevel && name.endsWith('/'))) {
          const etag = strongEtag(ETag);
          yield { name, sizeBytes: Size, etag, lastModifiedMs: LastModified?.getTime() ?? 0 };
        }
      }
      token = page.IsTruncated === true ? page.NextContinuationToken : undefined;
      if (page.IsTruncated === true && (token === undefined || token === continuation)) {
        // A listing that seems complete and is not would look like objects that were deleted.
        throw new SyncError('STORAGE_FAILED', `the listing of ${prefix}* has no next page`, {
          hint: 'Check that the storage implements ListObjectsV2.',
          retryable: true,
        });
      }
    } while (token !== undefined);
  }

  async get(name: string, options: GetOptions): Promise<FetchedObject | undefined> {
    const { firstBytes, signal } = options;
    const operation = {
      kind: 'load',
      action: `load ${name}`,
      permission: 's3:GetObject',
    } as const;
    const deadline = this.#session.deadline(operation, signal);
    const mapped = (error: unknown) => deadline.reasonOf(this.#session.mapped(error, operation));
    try {
      const output = await this.#getOutput(name, { operation, firstBytes, deadline });
      if (output === undefined) {
        deadline[Symbol.dispose]();
        return undefined;
      }
      return fetchedFrom(
        {
          stream: output.Body,
          contentLength: output.ContentLength,
          contentRange: output.ContentRange,
          etag: requireEtag(output.ETag, operation, this.#session),
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
    return this.#writer.create(name, body, signal);
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
    const condition = options.etag === undefined ? { IfNoneMatch: '*' } : { IfMatch: options.etag };
    const { etag, ambiguous } = await this.#writer.store(name, bytesBody(bytes), {
      signal,
      condition,
    });
    return ambiguous ? etagIfOurs(this, { name, bytes, signal }) : etag;
  }

  async delete(name: string, signal: AbortSignal): Promise<void> {
    const { sdk, client } = this.#session.opened;
    const operation = {
      kind: 'delete',
      action: `delete ${name}`,
      permission: 's3:DeleteObject',
    } as const;
    await this.#session.within(operation, { signal }, async (abortSignal) => {
      try {
        await this.#session.request(operation, () =>
          client.send(new sdk.DeleteObjectCommand(this.#session.location(name)), { abortSignal }),
        );
      } catch (error) {
        if (!isMissingObject(error)) {
          throw error;
        }
      }
    });
  }

  async close(): Promise<void> {
    this.#session.opened.close();
  }

  async #getOutput(
    name: string,
    what: { operation: S3Operation; firstBytes: number | undefined; deadline: Deadline },
  ): Promise<GetObjectCommandOutput | undefined> {
    const { sdk, client } = this.#session.opened;
    const { operation, firstBytes, deadline } = what;
    try {
      return await this.#session.request(operation, () =>
        client.send(
          new sdk.GetObjectCommand({
            ...this.#session.location(name),
            ...(firstBytes === undefined
              ? {}
              : { Range: `bytes=0-${Math.max(1, firstBytes) - 1}` }),
          }),
          { abortSignal: deadline.signal },
        ),
      );
    } catch (error) {
      if (isMissingObject(error)) {
        return undefined;
      }
      if (firstBytes !== undefined && s3Facts(error).status === 416) {
        // No range of an empty object can be had.
        return this.#getOutput(name, { ...what, firstBytes: undefined });
      }
      throw error;
    }
  }
}

/** Every ListBucketResult has some of these, also an empty one; no other document has. */
function isListing(page: ListObjectsV2CommandOutput): boolean {
  const { IsTruncated, KeyCount, MaxKeys, Name, Contents } = page;
  return [IsTruncated, KeyCount, MaxKeys, Name, Contents].some((field) => field !== undefined);
}
