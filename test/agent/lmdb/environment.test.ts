import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { Environment } from '../../../agent/lmdb/environment.ts';
import { SyncError } from '../../../protocol/errors.ts';
import type { LocalDatabase } from '../../../agent/lmdb/local-database.ts';
import { errorCodeOf } from '../../support/fixtures.ts';
import {
  databaseOptions,
  dumpEntries,
  lastTxn,
  localDatabase,
  objectSpool,
  scratchFolder,
} from '../../support/lmdb.ts';
import { testBundle } from '../../support/test-bundle.ts';

const MIB = 1024 ** 2;
const folder = scratchFolder();
let file = '';
let count = 0;
let writer = '';
let open: (LocalDatabase | Environment)[] = [];

beforeAll(async () => {
  writer = await testBundle('test/support/children/write-once.ts');
});

beforeEach(() => {
  count += 1;
  file = path.join(folder, `${count}.mdb`);
});

afterEach(async () => {
  for (const one of open) {
    await one.close();
  }
  open = [];
});

afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

async function start(overrides: Parameters<typeof localDatabase>[1] = {}): Promise<LocalDatabase> {
  const db = localDatabase(file, overrides);
  open.push(db);
  await db.open();
  return db;
}

function big(from: number, to: number) {
  const entries: Record<string, { value: string; ts: number }> = {};
  for (let i = from; i < to; i += 1) {
    entries[`k${i}`] = { value: 'x'.repeat(30_000), ts: 10 };
  }
  return { name: 'x', spool: objectSpool({ zones: { entries } }), vector: new Map() };
}

function message(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof SyncError) {
      return `${error.code}: ${error.message}`;
    }
  }
  return 'done';
}

describe('opening', () => {
  test('a missing LMDB makes it only where that is allowed', () => {
    const missing = path.join(folder, 'missing');
    const options = databaseOptions(missing, { noSubdir: false, create: false });
    expect(message(() => Environment.open(options))).toMatch(/^ENVIRONMENT_UNREADABLE: .*missing/);
    const environment = Environment.open({ ...options, create: true, dirMask: 0o700 });
    open.push(environment);
    expect(fs.statSync(missing).mode & 0o777).toBe(0o700);
    expect(environment.dataPath).toBe(path.join(missing, 'data.mdb'));
  });

  test('a file that is no LMDB, or one of the newer format, says so', () => {
    fs.writeFileSync(file, Buffer.alloc(8192, 7));
    expect(message(() => Environment.open(databaseOptions(file)))).toMatch(
      /^ENVIRONMENT_UNREADABLE: .*not an LMDB data file/,
    );
    const newer = Buffer.alloc(8192);
    newer.writeUInt32LE(0xbeefc0de, 24);
    newer.writeUInt32LE(2, 28);
    fs.writeFileSync(file, newer);
    expect(message(() => Environment.open(databaseOptions(file)))).toMatch(
      /^ENVIRONMENT_UNREADABLE: .*data format 2/,
    );
    expect(fs.readFileSync(file).equals(newer)).toBe(true);
  });

  test('the map keeps the size that the file says', async () => {
    const first = await start({ mapSizeBytes: 8 * MIB });
    await first.merge(big(0, 1));
    await first.close();
    const second = await start({ mapSizeBytes: 64 * MIB });
    await second.merge(big(1, 2));
    expect(await second.stats()).toMatchObject({ mapSizeBytes: 8 * MIB, readers: 1 });
  });
});

describe('read transactions', () => {
  test('each is fresh, also within one turn and beside open ones', () => {
    const environment = Environment.open(databaseOptions(file));
    open.push(environment);
    const pins = [];
    for (let i = 0; i < 5; i += 1) {
      const { txnId } = environment.write((txn) => {
        txn.createDbi('zones', 0);
        txn.put('zones', Buffer.from('k'), Buffer.from(`${i}`));
      });
      const read = environment.beginRead();
      expect(read.meta.txnId).toBe(txnId);
      pins.push(read);
    }
    for (const pin of pins) {
      pin.close();
    }
  });

  test('an open one keeps its pages, a closed one gives them back', async () => {
    const environment = Environment.open(databaseOptions(file));
    open.push(environment);
    const write = (fill: number) =>
      environment.write((txn) => {
        txn.createDbi('zones', 0);
        for (let i = 0; i < 20; i += 1) {
          txn.put('zones', Buffer.from(`k${i}`), Buffer.alloc(1000, fill));
        }
      });
    write(0);
    const pin = environment.beginRead();
    for (let i = 1; i < 20; i += 1) {
      write(i);
    }
    const grown = environment.file.readMeta().lastPage;
    pin.close();
    for (let i = 20; i < 60; i += 1) {
      write(i);
    }
    expect(environment.file.readMeta().lastPage).toBeLessThan(grown + 20);
  });
});

describe('write transactions', () => {
  test('one that throws leaves nothing, DBIs and their handles neither', () => {
    const environment = Environment.open(databaseOptions(file));
    open.push(environment);
    const bytes = Buffer.from('k');
    expect(() =>
      environment.write((txn) => {
        txn.createDbi('zones', 0);
        txn.put('zones', bytes, bytes);
        throw new Error('stop');
      }),
    ).toThrow('stop');
    environment.write((txn) => {
      txn.createDbi('zones', 0);
      txn.put('zones', bytes, bytes);
    });
    expect(Object.keys(dumpEntries(file))).toEqual(['zones']);
  });

  test('one that writes nothing has no id: LMDB gives the same to the next one', () => {
    const environment = Environment.open(databaseOptions(file));
    open.push(environment);
    const create = () => environment.write((txn) => txn.createDbi('zones', 0)).txnId;
    const first = create();
    expect(create()).toBeUndefined();
    const bytes = Buffer.from('k');
    expect(environment.write((txn) => txn.remove('zones', bytes)).txnId).toBeUndefined();
    expect(environment.write((txn) => txn.put('zones', bytes, bytes)).txnId).toBe(first! + 1);
  });

  test('a DBI whose name is no text cannot be written: the binding would take another one', () => {
    const environment = Environment.open(databaseOptions(file));
    open.push(environment);
    const write = (name: string) =>
      message(() => environment.write((txn) => txn.createDbi(name, 0)));
    expect(write('\u00ff\u00fe')).toMatch(/^TRANSACTION_FAILED: .*0xfffe/);
    expect(write(Buffer.from('zöne').toString('latin1'))).toBe('done');
    expect(Object.keys(dumpEntries(file))).toEqual([Buffer.from('zöne').toString('latin1')]);
  });

  test('more DBIs than allowed is an error that says so', () => {
    const environment = Environment.open(databaseOptions(file, { maxDbs: 2 }));
    open.push(environment);
    expect(
      message(() =>
        environment.write((txn) => {
          for (const name of ['a', 'b', 'c']) {
            txn.createDbi(name, 0);
          }
        }),
      ),
    ).toMatch(/^DBIS_FULL: .*max_dbs/);
  });
});

describe('a full map', () => {
  test('is an error that can be retried; nothing has changed, and reading goes on', async () => {
    const db = await start({ mapSizeBytes: MIB });
    await db.merge(big(0, 5));
    const before = lastTxn(file);
    expect(await errorCodeOf(() => db.merge(big(5, 200)))).toBe('MAP_FULL');
    expect(lastTxn(file)).toBe(before);
    expect(await db.detect()).toMatchObject({ pendingKeys: 0, regressions: 0 });
    expect(await db.merge(big(0, 5))).toMatchObject({ changed: 0 });
  });

  test('that the application enlarges is used in its new size, and its changes are found', async () => {
    const db = await start({ mapSizeBytes: MIB });
    await db.merge(big(0, 5));
    const { object } = await db.encodeSnapshot({ seq: 1n, timeNs: 1n });
    await db.acknowledge(object!.token);
    expect(await errorCodeOf(() => db.merge(big(5, 200)))).toBe('MAP_FULL');
    const { status } = spawnSync(process.execPath, [writer, file, String(64 * MIB)]);
    expect(status).toBe(0);
    expect(await db.detect()).toMatchObject({ pendingKeys: 1 });
    expect(await db.merge(big(5, 200))).toMatchObject({ changed: 195 });
    expect(await db.stats()).toMatchObject({ mapSizeBytes: 64 * MIB });
    const delta = await db.encodeDelta({ seq: 2n, timeNs: 2n });
    expect(delta.object?.entries).toBe(1);
  });
});

test('who else holds the write lock does not hold up the search for changes', async () => {
  const db = await start({ mapSizeBytes: 64 * MIB });
  await db.merge(big(0, 1));
  const other = spawn(process.execPath, [writer, file, String(64 * MIB), '600'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(other, 'exit');
  await once(other.stdout, 'data');
  // Both come back although the lock is held: this child has not ended yet.
  expect(await db.detect()).toMatchObject({ pendingKeys: 0 });
  const { object } = await db.encodeSnapshot({ seq: 1n, timeNs: 1n });
  expect(object?.entries).toBe(1);
  expect(other.exitCode).toBeNull();
  await exited;
  expect(await db.detect()).toMatchObject({ pendingKeys: 1 });
});
