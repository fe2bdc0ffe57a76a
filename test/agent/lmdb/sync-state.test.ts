import type { StreamId } from '../../../protocol/object-name.ts';
import path from 'node:path';
import fs from 'node:fs';
import { Environment } from '../../../agent/lmdb/environment.ts';
import { listDbis } from '../../../agent/lmdb/pages/data-file.ts';
import { MERGED_RANGES_MAX } from '../../../agent/lmdb/limits.ts';
import {
  isRenumbered,
  readSyncState,
  wouldChange,
  writeSyncState,
  type SyncState,
  type SyncStateUpdate,
} from '../../../agent/lmdb/sync-state.ts';
import { SYNC_STATE_DBI } from '../../../agent/lmdb/state-value.ts';
import { TxnRanges } from '../../../agent/lmdb/txn-ranges.ts';
import { databaseOptions, scratchFolder } from '../../support/lmdb.ts';

const folder = scratchFolder();
let count = 0;
let environment: Environment;

beforeEach(() => {
  count += 1;
  environment = Environment.open(databaseOptions(path.join(folder, `${count}.mdb`)));
});

afterEach(() => environment.close());

afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

function read(): SyncState {
  const { file } = environment;
  return readSyncState(file, listDbis(file, file.readMeta()).get(SYNC_STATE_DBI));
}

function write(update: SyncStateUpdate): number | undefined {
  const before = read();
  return environment.write((txn) => writeSyncState(txn, before, update)).txnId;
}

const TOGETHER = {
  uploadedTxn: 7,
  maxTsNs: 2n ** 64n - 1n,
};

test('what was written is read again; what an update leaves out stays', () => {
  write({ together: TOGETHER });
  write({ lastSyncNs: 5n, bucketId: 'bücket' });
  write({ entriesAtStop: 12, addMerged: { txnId: 30, quietSince: 30 } });
  const { merged, ...state } = read();
  expect(state).toEqual({
    ...TOGETHER,
    lastSyncNs: 5n,
    bucketId: 'bücket',
    entriesAtStop: 12,
    rejoinBeforeNs: 0n,
    droppedNs: 0n,
    refused: new Map(),
    was: new Map(),
    isOrdered: true,
  });
  expect([...merged]).toEqual([{ first: 30, last: 30 }]);
  write({ entriesAtStop: null });
  expect(read().entriesAtStop).toBeUndefined();
});

test('DBIs that are left alone are remembered with what was exchanged until there are none', () => {
  const refused = new Map([
    ['sub\u00fc', { uploadedTxn: 7, syncedNs: 1_700_000_000_000_000_001n }],
    ['never sent', { uploadedTxn: undefined, syncedNs: 5n }],
    ['never synced', { uploadedTxn: undefined, syncedNs: undefined }],
  ]);
  write({ together: { ...TOGETHER, refused } });
  expect(read().refused).toEqual(refused);
  write({ together: TOGETHER });
  expect(read().refused).toEqual(refused);
  expect(wouldChange(read(), { together: { ...TOGETHER, refused } })).toBe(false);
  expect(wouldChange(read(), { together: { ...TOGETHER, refused: new Map() } })).toBe(true);
  write({ together: { ...TOGETHER, refused: new Map() } });
  expect(read().refused).toEqual(new Map());
});

test('nothing is written where nothing differs', () => {
  write({ together: TOGETHER, lastSyncNs: 5n });
  const same = { together: { ...TOGETHER }, lastSyncNs: 5n };
  expect(wouldChange(read(), same)).toBe(false);
  expect(write(same)).toBeUndefined();
  expect(wouldChange(read(), { together: { ...TOGETHER, uploadedTxn: null } })).toBe(true);
  expect(wouldChange(read(), { lastSyncNs: 6n })).toBe(true);
});

test('who must rejoin is never less than before', () => {
  write({ rejoinBeforeNs: 7n });
  expect(wouldChange(read(), { rejoinBeforeNs: 7n })).toBe(false);
  expect(wouldChange(read(), { rejoinBeforeNs: 8n })).toBe(true);
  write({ rejoinBeforeNs: 6n });
  expect(read().rejoinBeforeNs).toBe(7n);
});

test('ids of merges up to the uploaded marker are removed with it', () => {
  for (const txnId of [5, 10, 20]) {
    write({ addMerged: { txnId, quietSince: txnId } });
  }
  write({ addMerged: { txnId: 25, quietSince: 20 } });
  write({ together: { ...TOGETHER, uploadedTxn: 10 } });
  expect([...read().merged]).toEqual([{ first: 20, last: 25 }]);
  write({ forgetMerged: true });
  expect([...read().merged]).toEqual([]);
});

test('damaged values count as missing', () => {
  write({ together: TOGETHER, lastSyncNs: 5n });
  environment.write((txn) => {
    const put = (key: string, value: string) =>
      txn.put(
        SYNC_STATE_DBI,
        Buffer.from(key),
        Buffer.concat([Buffer.alloc(24), Buffer.from(value)]),
      );
    put('uploaded', '-3');
    put('merged/x', '');
    put('merged/9', '3');
    txn.put(SYNC_STATE_DBI, Buffer.from('last_sync'), Buffer.from('short'));
  });
  const { merged, ...state } = read();
  expect(state).toMatchObject({ uploadedTxn: undefined, lastSyncNs: undefined });
  expect([...merged]).toEqual([]);
});

test('a marker or merge above the last transaction shows that they were counted anew', () => {
  const state = { ...read(), uploadedTxn: 10 };
  expect(isRenumbered(state, 10)).toBe(false);
  expect(isRenumbered(state, 9)).toBe(true);
  const merged = new TxnRanges([{ first: 3, last: 12 }]);
  expect(isRenumbered({ ...state, merged }, 11)).toBe(true);
});

test('of very many merges the oldest are forgotten, and one that is joined to the newest forgets none', () => {
  let before = read();
  environment.write((txn) => {
    // Numbers of other transactions: only their count matters.
    for (let txnId = 10; txnId < 10 + 3 * MERGED_RANGES_MAX; txnId += 2) {
      writeSyncState(txn, before, { addMerged: { txnId, quietSince: txnId } });
    }
  });
  before = read();
  expect(before.merged.size).toBe(1.5 * MERGED_RANGES_MAX);
  write({ addMerged: { txnId: 9000, quietSince: 9000 } });
  expect(read().merged.size).toBe(MERGED_RANGES_MAX);
  expect(read().merged.has(9000)).toBe(true);
  expect(read().merged.has(10)).toBe(false);
  write({ addMerged: { txnId: 9001, quietSince: 9000 } });
  expect(read().merged.size).toBe(MERGED_RANGES_MAX);
  write({ addMerged: { txnId: 9003, quietSince: 9003 } });
  expect([...read().merged].at(-2)).toEqual({ first: 9000, last: 9001 });
  expect(read().merged.size).toBe(MERGED_RANGES_MAX);
  write({ forgetMerged: true });
  expect(read().merged.size).toBe(0);
});

test('own places and the note about them stay until others are written', () => {
  const was = new Map([['a.r1' as StreamId, 7n]]);
  write({ together: { ...TOGETHER, was, proof: 'note' }, droppedNs: 9n });
  write({ together: TOGETHER, droppedNs: 8n });
  expect(read()).toMatchObject({ was, proof: 'note', droppedNs: 9n });
  expect(wouldChange(read(), { together: { ...TOGETHER, was, proof: 'note' } })).toBe(false);
  expect(wouldChange(read(), { together: { ...TOGETHER, was: new Map() } })).toBe(true);
  expect(wouldChange(read(), { together: { ...TOGETHER, proof: 'other' } })).toBe(true);
  write({ together: { ...TOGETHER, was: new Map() }, droppedNs: null });
  expect(read()).toMatchObject({ was: new Map(), proof: 'note', droppedNs: 0n });
});
