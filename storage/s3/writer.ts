import type { PutObjectCommandInput } from '@aws-sdk/client-s3';
import { createHash } from 'node:crypto';
import { setTimeout as sleepFor } from 'node:timers/promises';

import { collectBody } from '../bodies.ts';
import { PART_BYTES, S3_CONFLICT_ATTEMPTS, S3_PART_CONCURRENCY } from '../limits.ts';
import type { ObjectBody } from '../object-store.ts';
import { requireEtag } from './answers.ts';
import { isMissingObject, s3Facts } from './errors.ts';
import type { S3Operation, S3Session } from './session.ts';
import { uploadParts } from '../upload-parts.ts';

/** Bound on giving up a multipart upload whose own operation was aborted. */
const CLEAN_UP_TIMEOUT_MS = 10 * 1000;

/** The header that makes a write conditional; neither: it replaces what is there. */
export type Condition = { readonly IfNoneMatch?: string; readonly IfMatch?: string };

type Write = {
  readonly operation: S3Operation;
  readonly condition: Condition;
  readonly abortSignal: AbortSignal;
};

/** Stores one object: in one request up to 8 MiB, as a multipart upload above. */
export class S3Writer {
  readonly #session: S3Session;
  /** The storage has refused a condition and then stored without one. */
  #isUnconditional = false;
  /** Errors of writes whose condition may be what the storage does not know. */
  readonly #refused = new WeakSet<object>();

  constructor(session: S3Session) {
    this.#session = session;
  }

  /**
   * Stores what is not there yet. Some storages (Backblaze B2) know no conditions and say so: there the name is looked
   * up first. Nobody else can take it in between, because the names that are created hold the writer's random run.
   */
  async create(name: string, body: ObjectBody, signal: AbortSignal): Promise<'stored' | 'exists'> {
    if (!this.#isUnconditional) {
      const condition = { IfNoneMatch: '*' };
      try {
        const { etag } = await this.store(name, body, { signal, condition });
        return etag === undefined ? 'exists' : 'stored';
      } catch (error) {
        if (!this.#refused.has(error as object)) {
          throw error;
        }
      }
    }
    if (await this.#exists(name, signal)) {
      return 'exists';
    }
    await this.store(name, body, { signal, condition: {} });
    // Only now: what was refused may have been something else of the request.
    this.#isUnconditional = true;
    return 'stored';
  }

  /**
   * The new etag; undefined where the condition did not hold. `ambiguous` tells that an earlier try of the same
   * request may have been the winner, because the SDK repeated it.
   */
  store(
    name: string,
    body: ObjectBody,
    options: { signal: AbortSignal; condition: Condition },
  ): Promise<{ etag: string | undefined; ambiguous: boolean }> {
    const { signal, condition } = options;
    const operation = {
      kind: 'store',
      action: `store ${name}`,
      permission: 's3:PutObject',
    } as const;
    return this.#session.within(operation, { signal }, async (abortSignal) => {
      const write = { operation, condition, abortSignal };
      for (let attempt = 1; ; attempt++) {
        try {
          const etag =
            body.sizeBytes <= PART_BYTES
              ? await this.#storeWhole(name, body, write)
              : await this.#storeParts(name, body, write);
          return { etag, ambiguous: false };
        } catch (error) {
          const { status, attempts, name: errorName } = s3Facts(error);
          // 304 is what MinIO answered to a write until 2024.
          if (
            status === 412 ||
            status === 304 ||
            (condition.IfMatch !== undefined && isMissingObject(error))
          ) {
            return { etag: undefined, ambiguous: attempts > 1 };
          }
          if (isConditional(condition) && (status === 501 || errorName === 'InvalidArgument')) {
            const refusal = this.#session.mapped(error, operation);
            this.#refused.add(refusal);
            throw refusal;
          }
          if (status !== 409 || attempt === S3_CONFLICT_ATTEMPTS) {
            throw error;
          }
          // Another conditional write on this name is under way: S3 asks to try again.
          await sleepFor(20 * 2 ** attempt, undefined, { signal: abortSignal });
        }
      }
    });
  }

  async #exists(name: string, signal: AbortSignal): Promise<boolean> {
    const { sdk, client } = this.#session.opened;
    const operation = {
      kind: 'load',
      action: `look for ${name}`,
      permission: 's3:GetObject',
    } as const;
    return this.#session.within(operation, { signal }, async (abortSignal) => {
      try {
        const { ETag } = await this.#session.request(operation, () =>
          client.send(new sdk.HeadObjectCommand(this.#session.location(name)), { abortSignal }),
        );
        requireEtag(ETag, operation, this.#session);
        return true;
      } catch (error) {
        if (isMissingObject(error)) {
          return false;
        }
        throw error;
      }
    });
  }

  async #storeWhole(name: string, body: ObjectBody, how: Write): Promise<string> {
    const { sdk, client } = this.#session.opened;
    const { operation, condition, abortSignal } = how;
    const bytes = await collectBody(body, abortSignal);
    const output = await this.#session.request(operation, () =>
      client.send(
        new sdk.PutObjectCommand({
          ...this.#newObject(name),
          ...this.#md5(bytes),
          ...condition,
          Body: bytes,
          ContentLength: bytes.byteLength,
        }),
        { abortSignal },
      ),
    );
    return requireEtag(output.ETag, operation, this.#session);
  }

  async #storeParts(name: string, body: ObjectBody, how: Write): Promise<string> {
    const { sdk, client } = this.#session.opened;
    const { operation, condition, abortSignal } = how;
    const location = this.#session.location(name);
    const { UploadId } = await this.#session.request(operation, () =>
      client.send(new sdk.CreateMultipartUploadCommand(this.#newObject(name)), { abortSignal }),
    );
    try {
      const Parts = await uploadParts(body, {
        concurrency: this.#session.options.numMinioThreads || S3_PART_CONCURRENCY,
        signal: abortSignal,
        upload: async ({ number: PartNumber, bytes }, partSignal) => {
          const { ETag } = await this.#session.request(operation, () =>
            client.send(
              new sdk.UploadPartCommand({
                ...location,
                ...this.#md5(bytes),
                UploadId,
                PartNumber,
                Body: bytes,
                ContentLength: bytes.byteLength,
              }),
              { abortSignal: partSignal },
            ),
          );
          return { ETag: requireEtag(ETag, operation, this.#session), PartNumber };
        },
      });
      const { ETag } = await this.#session.request(operation, () =>
        client.send(
          new sdk.CompleteMultipartUploadCommand({
            ...location,
            ...condition,
            UploadId,
            MultipartUpload: { Parts },
          }),
          { abortSignal },
        ),
      );
      return requireEtag(ETag, operation, this.#session);
    } catch (error) {
      await this.#giveUpParts(name, UploadId, operation);
      throw error;
    }
  }

  /** Frees the parts that are paid for until then. Best effort: the bucket's lifecycle rule removes what is left. */
  async #giveUpParts(
    name: string,
    UploadId: string | undefined,
    operation: S3Operation,
  ): Promise<void> {
    const { sdk, client } = this.#session.opened;
    try {
      await this.#session.request(operation, () =>
        client.send(
          new sdk.AbortMultipartUploadCommand({ ...this.#session.location(name), UploadId }),
          // Not the operation's signal: that may be what ended it.
          { abortSignal: AbortSignal.timeout(CLEAN_UP_TIMEOUT_MS) },
        ),
      );
    } catch {
      // The failure that led here is the one to report.
    }
  }

  #newObject(name: string): Pick<PutObjectCommandInput, 'StorageClass'> & {
    Bucket: string;
    Key: string;
  } {
    const { storageClass = '' } = this.#session.options;
    return {
      ...this.#session.location(name),
      // Whatever class the storage has, not only those this SDK was made with.
      ...(storageClass === '' ? {} : { StorageClass: storageClass as 'STANDARD' }),
    };
  }

  #md5(bytes: Uint8Array): { ContentMD5?: string } {
    return this.#session.options.disableSendContentMd5 === true
      ? {}
      : { ContentMD5: contentMd5(bytes) };
  }
}

function isConditional({ IfMatch, IfNoneMatch }: Condition): boolean {
  return IfMatch !== undefined || IfNoneMatch !== undefined;
}

/** The Content-MD5 header of a body: S3 refuses bytes that were damaged on the way. */
function contentMd5(bytes: Uint8Array): string {
  return createHash('md5').update(bytes).digest('base64');
}
