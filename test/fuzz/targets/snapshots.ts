import assert from 'node:assert/strict';
import { gunzipSync, gzipSync } from 'node:zlib';
import { readdirSync } from 'node:fs';
import { SyncError, type ErrorCode } from '../../../protocol/errors.ts';
import {
  readSnapshot,
  readSnapshotHead,
  SnapshotReader,
} from '../../../protocol/snapshot-reader.ts';
import { decodeMeta, encodeMeta } from '../../../protocol/snapshot-meta.ts';
import { encodeSnapshot } from '../../support/arbitraries.ts';
import {
  chunksOf,
  CollectingSink,
  FIXTURES,
  fixtureBytes,
  type JsonDbi,
} from '../../support/fixtures.ts';
import { EMPTY_META } from '../../../protocol/snapshot.ts';
import { refusedOr, words, type FuzzTarget } from '../target.ts';

const REFUSED: readonly ErrorCode[] = [
  'SNAPSHOT_CORRUPT',
  'SNAPSHOT_INCOMPATIBLE',
  'SNAPSHOT_REJECTED',
];
const MAX_BYTES = 4096;

/** Small objects that upstream, or nobody's program, has written. */
function fixtureObjects(): Buffer[] {
  return readdirSync(FIXTURES, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.pb.gz'))
    .map((file) => fixtureBytes(file))
    .filter((bytes) => bytes.length < MAX_BYTES);
}

function fixtureMessages(): Buffer[] {
  return fixtureObjects().flatMap((bytes) => {
    try {
      return [gunzipSync(bytes)].filter(({ length }) => length < MAX_BYTES);
    } catch {
      // One of the damaged ones.
      return [];
    }
  });
}

/** As our agents write deltas: with stream, number and vector. */
function ownMessage(): Buffer {
  return encodeSnapshot({
    meta: {
      ...EMPTY_META,
      instance: 'ns1',
      run: 'abcdefghijkl',
      seq: 3n,
      vector: new Map([['ns2.abcdefghijkl' as never, 7n]]),
    },
    dbis: [
      {
        name: 'd',
        flags: 8,
        transform: 'dupsort_hack_v1',
        entries: [
          { key: Buffer.from('k'), value: Buffer.from('v'), timestampNs: 7n, deleted: false },
          { key: Buffer.from('l'), value: Buffer.of(), timestampNs: 8n, deleted: true },
        ],
      },
    ],
  });
}

const DICTIONARY = [
  ...words(
    '\x08\x03',
    '\x20\x01',
    '\x1a',
    '\x12',
    '\x0a',
    '\x19',
    '\x20\x01',
    'dupsort_hack_v1',
    '_sync',
  ),
  Buffer.from('c23e', 'hex'),
  Buffer.from('ca3e', 'hex'),
];

/** The message of snapshots, deltas and bases, without gzip. */
export const snapshotMessage: FuzzTarget = {
  name: 'snapshot-message',
  maxBytes: MAX_BYTES,
  seeds: () => [ownMessage(), ...fixtureMessages()],
  dictionary: DICTIONARY,
  run(input) {
    const whole = outcomeOf(input, { chunkBytes: input.length });
    // However it arrives, and whether DBIs are held or streamed, it is read alike.
    assert.deepEqual(outcomeOf(input, { chunkBytes: 7 }), whole);
    if (whole.dbis === undefined) {
      return;
    }
    const again = refusedOr(REFUSED, () => rewritten(whole.sink));
    if (again === undefined) {
      return;
    }
    const { dbis } = outcomeOf(again, { chunkBytes: again.length });
    assert.deepEqual(dbis?.map(entriesOf), whole.dbis.map(entriesOf));
  },
};

type Outcome = { readonly code: string; readonly dbis: readonly JsonDbi[] | undefined };

function outcomeOf(
  input: Uint8Array,
  options: { chunkBytes: number },
): Outcome & { sink: CollectingSink } {
  const sink = new CollectingSink();
  const reader = new SnapshotReader(sink);
  const { chunkBytes } = options;
  try {
    for (let at = 0; at < input.length; at += chunkBytes) {
      reader.push(input.subarray(at, at + chunkBytes));
    }
    reader.end();
    return { code: 'read', dbis: sink.dbis, sink };
  } catch (error) {
    if (!(error instanceof SyncError && REFUSED.includes(error.code))) {
      throw error;
    }
    return { code: error.code, dbis: undefined, sink: new CollectingSink() };
  }
}

/** As a writer has them: a deleted entry has no value. */
const entriesOf = ({ name, entries }: JsonDbi) => ({
  name,
  entries: entries.map((entry) => (entry.flags === 0 ? entry : { ...entry, value: '' })),
});

function rewritten({ meta, dbis }: CollectingSink): Buffer {
  const bytes = encodeMeta(meta ?? EMPTY_META);
  assert.deepEqual(decodeMeta(bytes), meta ?? EMPTY_META);
  return encodeSnapshot({
    meta: meta ?? EMPTY_META,
    dbis: dbis.map(({ name, flags, transform, entries }) => ({
      name,
      flags,
      transform,
      entries: entries.map(({ key, value, timestampNano, flags: entryFlags }) => ({
        key: Buffer.from(key, 'hex'),
        value: Buffer.from(value, 'hex'),
        timestampNs: BigInt(timestampNano),
        deleted: entryFlags !== 0,
      })),
    })),
  });
}

/** Whole objects as they lie in the bucket. */
export const snapshotObject: FuzzTarget = {
  name: 'snapshot-object',
  maxBytes: MAX_BYTES,
  seeds: () => [gzipSync(ownMessage()), ...fixtureObjects(), gzipSync(Buffer.alloc(1 << 20))],
  dictionary: [Buffer.from('1f8b0800000000000003', 'hex'), gzipSync(''), Buffer.of(0x03, 0x00)],
  async run(input) {
    const whole = await readWhole(input);
    const head = await refusedOrAsync(readSnapshotHead(chunksOf(input)));
    if (whole === undefined) {
      return;
    }
    // Whoever reads only the head learns what a reader of the whole would.
    if (head !== undefined) {
      assert.deepEqual(head.meta, whole.meta);
    }
    const last = input.subarray(0, input.length - 1);
    assert.equal(await readWhole(last), undefined, 'it is read without its end');
    assert.equal(await readWhole(Buffer.concat([input, Buffer.of(0)])), undefined, 'more follows');
  },
};

async function readWhole(input: Uint8Array): Promise<CollectingSink | undefined> {
  const sink = new CollectingSink();
  return refusedOrAsync(readSnapshot(chunksOf(input, 100), sink).then(() => sink));
}

function refusedOrAsync<T>(work: Promise<T>): Promise<T | undefined> {
  return work.catch((error: unknown) => {
    if (error instanceof SyncError && REFUSED.includes(error.code)) {
      return undefined;
    }
    throw error;
  });
}
