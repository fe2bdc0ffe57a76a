import * as z from 'zod';
import { SyncError } from '../../protocol/errors.ts';
import { bucketIdName } from '../../protocol/object-name.ts';
import { bytesBody } from '../../storage/bodies.ts';
import type { ObjectStore } from '../../storage/object-store.ts';
import { readBounded } from '../../storage/read-bounded.ts';

const schema = z.object({ version: z.literal(1), id: z.string().min(8).max(128) });
const MAX_BYTES = 4096;

/** A bucket (or prefix) that nobody could give an id: agents without the right to create it, no compactor yet. */
export const NO_BUCKET_ID = '';

export type BucketIdOptions = {
  readonly mayCreate: boolean;
  /** The id of the bucket that was synced with before; undefined: none was. */
  readonly known: string | undefined;
  readonly randomBytes: (size: number) => Uint8Array;
  /** The id is there and is none. */
  readonly onDamaged: (error: SyncError) => void;
  readonly signal: AbortSignal;
};

/**
 * The random id of this bucket, created when it has none and this agent may. The vector and the uploaded marker
 * are facts about one bucket: with another id they are void. A damaged id counts as the one that is known: that it
 * is another bucket is less likely than that one small object was hurt.
 */
export async function findBucketId(store: ObjectStore, options: BucketIdOptions): Promise<string> {
  try {
    return await readOrCreate(store, options);
  } catch (error) {
    if (!(error instanceof SyncError) || error.code !== 'MESSAGE_INVALID') {
      throw error;
    }
    options.onDamaged(error);
    return options.known ?? NO_BUCKET_ID;
  }
}

async function readOrCreate(store: ObjectStore, options: BucketIdOptions): Promise<string> {
  for (let attempt = 0; attempt < 3; attempt += 1) {
    const found = await store.get(bucketIdName(), { signal: options.signal });
    if (found !== undefined) {
      return parseBucketId(await readBounded(found.body, MAX_BYTES));
    }
    if (!options.mayCreate) {
      return NO_BUCKET_ID;
    }
    const id = Buffer.from(options.randomBytes(16)).toString('hex');
    const bytes = Buffer.from(`${JSON.stringify({ version: 1, id })}\n`);
    try {
      const created = await store.create(bucketIdName(), bytesBody(bytes), options.signal);
      if (created === 'stored') {
        return id;
      }
    } catch (error) {
      if (error instanceof SyncError && error.code === 'STORAGE_DENIED') {
        return NO_BUCKET_ID;
      }
      throw error;
    }
  }
  throw new SyncError(
    'STORAGE_FAILED',
    `cannot read ${bucketIdName()}: it appears and disappears`,
    {
      retryable: true,
    },
  );
}

function parseBucketId(bytes: Uint8Array): string {
  try {
    return schema.parse(JSON.parse(Buffer.from(bytes).toString('utf8'))).id;
  } catch (cause) {
    throw new SyncError('MESSAGE_INVALID', `cannot read ${bucketIdName()}: it is not a bucket id`, {
      hint: 'Restore the object, or delete it so that agents create a new one and send everything again.',
      cause,
    });
  }
}
