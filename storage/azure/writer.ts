import { createHash, randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';

import { isLostCondition, isMissingBlob } from './errors.ts';
import type { AzureSession } from './session.ts';
import { collectBody } from '../bodies.ts';
import { AZURE_BLOCK_CONCURRENCY, PART_BYTES } from '../limits.ts';
import type { ObjectBody } from '../object-store.ts';
import type { Operation } from '../storage-session.ts';
import { uploadParts } from '../upload-parts.ts';

/** The header that makes a write conditional; neither: it replaces what is there. */
export type BlobCondition = { readonly ifNoneMatch?: string; readonly ifMatch?: string };

type Write = {
  readonly operation: Operation;
  readonly condition: BlobCondition;
  readonly abortSignal: AbortSignal;
};

/** What became of a write. */
export type Written = {
  /** Undefined: the condition did not hold. */
  readonly etag: string | undefined;
  /** An earlier try of the same request may have been the winner, because the SDK repeated it. */
  readonly ambiguous: boolean;
};

/**
 * Stores one blob: in one request up to 8 MiB, as blocks above. Blocks are no blob until the last request names them;
 * what is left of an upload that failed is removed by the service after a week.
 */
export class AzureWriter {
  readonly #session: AzureSession;

  constructor(session: AzureSession) {
    this.#session = session;
  }

  store(
    name: string,
    body: ObjectBody,
    options: { signal: AbortSignal; condition: BlobCondition },
  ): Promise<Written> {
    return this.#write(name, options, (write) =>
      body.sizeBytes <= PART_BYTES
        ? collectBody(body, write.abortSignal).then((bytes) => this.#whole(name, bytes, write))
        : this.#blocks(name, body, write),
    );
  }

  /** The same for bytes that are in memory, always as one request. */
  storeBytes(
    name: string,
    bytes: Uint8Array,
    options: { signal: AbortSignal; condition: BlobCondition },
  ): Promise<Written> {
    return this.#write(name, options, (write) => this.#whole(name, bytes, write));
  }

  #write(
    name: string,
    { signal, condition }: { signal: AbortSignal; condition: BlobCondition },
    run: (write: Write) => Promise<Written>,
  ): Promise<Written> {
    const operation = { kind: 'store', action: `store ${name}` } as const;
    return this.#session.within(operation, { signal }, (abortSignal) =>
      run({ operation, condition, abortSignal }),
    );
  }

  async #whole(name: string, bytes: Uint8Array, how: Write): Promise<Written> {
    const { operation, condition, abortSignal } = how;
    let tries = 0;
    // A function is asked for the bytes once per try, the only way to learn of the SDK's repetitions.
    const open = () => {
      tries += 1;
      return Readable.from(bytes.byteLength === 0 ? [] : [Buffer.from(bytes)]);
    };
    try {
      const { etag } = await this.#session.request(operation, async () =>
        (await this.#session.blob(name)).upload(open, bytes.byteLength, {
          abortSignal,
          conditions: condition,
          blobHTTPHeaders: { blobContentMD5: md5(bytes) },
        }),
      );
      return { etag: quoted(etag), ambiguous: false };
    } catch (error) {
      return { etag: requireLost(error, condition), ambiguous: tries > 1 };
    }
  }

  async #blocks(name: string, body: ObjectBody, how: Write): Promise<Written> {
    const { operation, condition, abortSignal } = how;
    // Two uploads of one name share the place of their blocks, and ids of one blob have all the same length.
    const upload = randomBytes(12).toString('hex');
    const blocks = await uploadParts(body, {
      concurrency: this.#session.options.concurrency || AZURE_BLOCK_CONCURRENCY,
      signal: abortSignal,
      upload: async ({ number, bytes }, partSignal) => {
        const id = Buffer.from(`${upload}-${String(number).padStart(7, '0')}`).toString('base64');
        await this.#session.request(operation, async () =>
          (await this.#session.blob(name)).stageBlock(
            id,
            Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength),
            bytes.byteLength,
            {
              abortSignal: partSignal,
              transactionalContentMD5: md5(bytes),
            },
          ),
        );
        return id;
      },
    });
    try {
      const { etag } = await this.#session.request(operation, async () =>
        (await this.#session.blob(name)).commitBlockList(blocks, {
          abortSignal,
          conditions: condition,
        }),
      );
      return { etag: quoted(etag), ambiguous: false };
    } catch (error) {
      return { etag: requireLost(error, condition), ambiguous: false };
    }
  }
}

/** Etags stand in quotes in headers and without them in listings; here they always have them. */
export function quoted(etag: string | undefined): string {
  return etag === undefined || etag.startsWith('"') ? (etag ?? '') : `"${etag}"`;
}

/** Undefined where the condition did not hold; throws whatever else it was. */
function requireLost(error: unknown, condition: BlobCondition): undefined {
  if (isLostCondition(error) || (condition.ifMatch !== undefined && isMissingBlob(error))) {
    return undefined;
  }
  throw error;
}

function md5(bytes: Uint8Array): Uint8Array {
  return createHash('md5').update(bytes).digest();
}
