import fs from 'node:fs';
import path from 'node:path';
import { Environment } from '../../../agent/lmdb/environment.ts';
import { VECTOR_KEYS_PER_TXN } from '../../../agent/lmdb/limits.ts';
import { listDbis } from '../../../agent/lmdb/pages/data-file.ts';
import { SavedVector } from '../../../agent/lmdb/saved-vector.ts';
import { encodeState, SYNC_STATE_DBI } from '../../../agent/lmdb/state-value.ts';
import { readSyncState } from '../../../agent/lmdb/sync-state.ts';
import type { WriteTxn } from '../../../agent/lmdb/write-txn.ts';
import { streamOf, type StreamId } from '../../../protocol/object-name.ts';
import { encodeVectorJson, type VersionVector } from '../../../protocol/version-vector.ts';
import { databaseOptions, dumpRaw, scratchFolder } from '../../support/lmdb.ts';

const folder = scratchFolder();
const A = streamOf('a', 'runa');
const B = streamOf('b', 'runb');
let count = 0;
let environment: Environment;

beforeEach(() => {
  count += 1;
  environment = Environment.open(databaseOptions(path.join(folder, `${count}.mdb`)));
});

afterEach(() => environment.close());

afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

function read(): SavedVector {
  const { file } = environment;
  return SavedVector.read(file, listDbis(file, file.readMeta()).get(SYNC_STATE_DBI));
}

/** Saves what fits into one transaction; the keys that it wrote or removed. */
function save(vector: SavedVector, rising?: VersionVector): string[] {
  const keys: string[] = [];
  const note = (key: Uint8Array) => keys.push(Buffer.from(key).toString('utf8'));
  const { result } = environment.write((txn) => {
    txn.createDbi(SYNC_STATE_DBI, 0);
    const noting = Object.create(txn, {
      txnId: { value: txn.txnId },
      put: {
        value: (dbi: string, key: Uint8Array, value: Uint8Array) => {
          note(key);
          txn.put(dbi, key, value);
        },
      },
      remove: { value: (dbi: string, key: Uint8Array) => note(key) && txn.remove(dbi, key) },
    }) as WriteTxn;
    return vector.save(noting, rising);
  });
  result();
  return keys;
}

function many(length: number, seq = 1n): Map<StreamId, bigint> {
  return new Map(Array.from({ length }, (_, i) => [streamOf('many', `run${i}`), seq]));
}

function writeOld(vector: VersionVector): void {
  environment.write((txn) => {
    txn.createDbi(SYNC_STATE_DBI, 0);
    const text = JSON.stringify(encodeVectorJson(vector));
    txn.put(SYNC_STATE_DBI, Buffer.from('vector'), encodeState(txn, text));
  });
}

test('one key is written for one position that rises, however many there are', () => {
  const vector = read();
  vector.join(many(300));
  save(vector);
  expect(vector.isSaved).toBe(true);
  expect(save(vector, new Map([[A, 2n ** 64n - 1n]]))).toEqual([`vector/${A}`]);
  expect(read().positions).toEqual(new Map([...many(300), [A, 2n ** 64n - 1n]]));
  expect(read().isSaved).toBe(true);
});

test('one transaction writes a bounded number of keys, and the next go on', () => {
  const vector = read();
  const size = 3 * VECTOR_KEYS_PER_TXN - 7;
  expect(save(vector, many(size))).toHaveLength(VECTOR_KEYS_PER_TXN);
  // All of it is known at once, and what is written of it is true.
  expect(vector.positions).toEqual(many(size));
  expect(read().positions.size).toBe(VECTOR_KEYS_PER_TXN);
  save(vector);
  expect(save(vector)).toHaveLength(VECTOR_KEYS_PER_TXN - 7);
  expect(vector.isSaved).toBe(true);
  expect(read().positions).toEqual(many(size));
});

test('what an aborted transaction wrote is written by the next', () => {
  const vector = read();
  const abort = () =>
    environment.write((txn) => {
      txn.createDbi(SYNC_STATE_DBI, 0);
      vector.save(txn, new Map([[A, 5n]]));
      throw new Error('aborted');
    });
  expect(abort).toThrow('aborted');
  expect(vector.positions.size).toBe(0);
  save(vector, new Map([[A, 5n]]));
  expect(read().positions).toEqual(new Map([[A, 5n]]));
});

test('emptied by one transaction, however many positions there were; their keys go bit by bit', () => {
  const vector = read();
  const size = 2 * VECTOR_KEYS_PER_TXN;
  vector.join(many(size));
  save(vector);
  save(vector);
  vector.empty();
  expect(save(vector).length).toBeLessThanOrEqual(VECTOR_KEYS_PER_TXN + 1);
  // As after a crash: the keys that are left do not count.
  const again = read();
  expect(again.positions.size).toBe(0);
  again.join(new Map([[A, 1n]]));
  while (!again.isSaved) {
    save(again);
  }
  expect(read().positions).toEqual(new Map([[A, 1n]]));
  const left = Object.keys(dumpRaw(environment.dataPath)[SYNC_STATE_DBI] ?? {});
  expect(left).toEqual(['generation', `vector/${A}`]);
});

test('a stream that is over loses its key', () => {
  const vector = read();
  save(
    vector,
    new Map([
      [A, 1n],
      [B, 2n],
    ]),
  );
  vector.drop([A]);
  expect(save(vector)).toEqual([`vector/${A}`]);
  expect(read().positions).toEqual(new Map([[B, 2n]]));
});

test('a stream whose name is too long for a key is kept like any other', () => {
  const long = streamOf('ä'.repeat(400), 'run');
  const longer = streamOf('ä'.repeat(401), 'run');
  const both = new Map([
    [long, 3n],
    [longer, 4n],
  ]);
  save(read(), both);
  expect(read().positions).toEqual(both);
});

describe('the one key of earlier versions', () => {
  test('is taken over, and goes when all of it is in keys of their own', () => {
    const old = many(2 * VECTOR_KEYS_PER_TXN - 1);
    writeOld(old);
    const vector = read();
    expect(vector.positions).toEqual(old);
    save(vector, new Map([[A, 7n]]));
    // A crash in between: the old key still counts, and it alone.
    expect(read().positions).toEqual(old);
    save(vector);
    expect(vector.isSaved).toBe(true);
    expect(read().positions).toEqual(new Map([...old, [A, 7n]]));
    expect(dumpRaw(environment.dataPath)[SYNC_STATE_DBI]).not.toHaveProperty('vector');
  });

  test('counts alone after a downgrade: what the keys say may not be true any more', () => {
    save(
      read(),
      new Map([
        [A, 9n],
        [B, 9n],
      ]),
    );
    writeOld(new Map([[B, 2n]]));
    const vector = read();
    expect(vector.positions).toEqual(new Map([[B, 2n]]));
    while (!vector.isSaved) {
      save(vector);
    }
    expect(read().positions).toEqual(new Map([[B, 2n]]));
  });

  test('does not come back once the vector was emptied', () => {
    writeOld(many(3 * VECTOR_KEYS_PER_TXN));
    const vector = read();
    vector.empty();
    save(vector, new Map([[A, 1n]]));
    expect(read().positions).toEqual(new Map([[A, 1n]]));
  });

  test('is empty where it is damaged', () => {
    environment.write((txn) => {
      txn.createDbi(SYNC_STATE_DBI, 0);
      txn.put(SYNC_STATE_DBI, Buffer.from('vector'), encodeState(txn, '{"no stream": 7}'));
    });
    expect(read().positions.size).toBe(0);
  });
});

test('damaged keys count as missing', () => {
  save(
    read(),
    new Map([
      [A, 1n],
      [B, 2n],
    ]),
  );
  environment.write((txn) => {
    const put = (key: string, text: string) =>
      txn.put(SYNC_STATE_DBI, Buffer.from(key), encodeState(txn, text));
    put(`vector/${A}`, '0 99999999999999999999');
    put('vector/no stream', '0 7');
    txn.put(SYNC_STATE_DBI, Buffer.from('vector/c.run'), Buffer.from('short'));
  });
  expect(read().positions).toEqual(new Map([[B, 2n]]));
});

test('the state beside it is read without a look at its keys', () => {
  save(read(), many(VECTOR_KEYS_PER_TXN));
  const vector = read();
  vector.join(many(40_000));
  while (!vector.isSaved) {
    save(vector);
  }
  const { file } = environment;
  const record = listDbis(file, file.readMeta()).get(SYNC_STATE_DBI);
  const before = file.pagesRead;
  readSyncState(file, record);
  expect(file.pagesRead - before).toBeLessThan(8);
});
