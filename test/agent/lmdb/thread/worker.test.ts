import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import type { DatabaseOptions } from '../../../../agent/lmdb/local-database.ts';
import { WorkerLocalDatabase } from '../../../../agent/lmdb/thread/worker-client.ts';
import { SyncError } from '../../../../protocol/errors.ts';
import {
  Application,
  databaseOptions,
  dumpEntries,
  objectSpool,
  readEncoded,
  scratchFolder,
} from '../../../support/lmdb.ts';
import { REMOTE_STREAM } from '../../../support/lmdb-host.ts';
import { testBundle } from '../../../support/test-bundle.ts';

const folder = scratchFolder();
let workerPath = '';
let writer = '';
let file = '';
let count = 0;
let open: WorkerLocalDatabase[] = [];

beforeAll(async () => {
  workerPath = await testBundle('agent/lmdb/thread/worker.ts');
  writer = await testBundle('test/support/children/write-once.ts');
});

beforeEach(() => {
  count += 1;
  file = path.join(folder, `${count}.mdb`);
});

afterEach(async () => {
  for (const db of open) {
    await db.close();
  }
  open = [];
});

afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

function start(overrides: Partial<DatabaseOptions> = {}, bundle = workerPath): WorkerLocalDatabase {
  const db = new WorkerLocalDatabase(databaseOptions(file, overrides), { workerPath: bundle });
  open.push(db);
  return db;
}

const SPOOL = objectSpool({ zones: { entries: { a: { value: '1', ts: 10 } } } });
const REQUEST = { name: 'x', spool: SPOOL, vector: new Map([[REMOTE_STREAM, 3n]]) };

test('does over there what the database does here', async () => {
  const db = start();
  expect(await db.open()).toMatchObject({ vector: new Map(), hasData: false, maxTsNs: 0n });
  expect(await db.merge(REQUEST)).toMatchObject({ changed: 1, transactions: 1 });
  // The bytes are still here: a merge that failed is repeated with them.
  expect(await db.merge(REQUEST)).toMatchObject({ changed: 0, transactions: 0 });
  expect(dumpEntries(file)).toMatchObject({ zones: { a: { value: '1' } } });
  const { object, detection } = await db.encodeSnapshot({ seq: 1n, timeNs: 1n });
  expect(await readEncoded(object!.spool)).toEqual({ zones: { a: '1@10' } });
  expect(object!.vector?.get(REMOTE_STREAM)).toBe(3n);
  expect(detection.hasData).toBe(true);
  await db.acknowledge(object!.token);
  expect(await db.encodeDelta({ seq: 2n, timeNs: 2n })).toMatchObject({ object: undefined });
  await db.persist({ vector: new Map([[REMOTE_STREAM, 4n]]), entriesAtStop: true });
  expect(await db.detect()).toMatchObject({ pendingKeys: 0 });
  expect((await db.stats()).dbis.map(({ name }) => name)).toContain('zones');
});

test('two objects of one read transaction arrive, and both are acknowledged', async () => {
  const db = start();
  await db.open();
  await db.merge(REQUEST);
  const application = new Application(file);
  application.write((txn) => txn.put('zones', 'b', { value: '2', ts: 20 }));
  await application.close();
  const place = { seq: 1n, timeNs: 1n };
  const { object, news } = await db.encodeSnapshot({ ...place, newsFirst: true });
  expect(await readEncoded(news!.spool)).toEqual({ zones: { b: '2@20' } });
  expect(await readEncoded(object!.spool)).toEqual({ zones: { a: '1@10', b: '2@20' } });
  await db.acknowledge(news!.token);
  await db.acknowledge(object!.token);
  expect(await db.encodeDelta({ seq: 3n, timeNs: 3n })).toMatchObject({ object: undefined });
});

test('an error arrives with its code, hint and whether a retry helps', async () => {
  const db = start({ mapSizeBytes: 1024 ** 2 });
  await db.open();
  const damaged = { ...REQUEST, spool: { kind: 'memory', bytes: Buffer.from('x') } as const };
  await expect(db.merge(damaged)).rejects.toMatchObject({
    code: 'SNAPSHOT_CORRUPT',
    retryable: false,
  });
  const value = 'x'.repeat(3 * 1024 ** 2);
  const spool = objectSpool({ zones: { entries: { a: { value, ts: 10 } } } });
  const full = db.merge({ ...REQUEST, spool });
  await expect(full).rejects.toBeInstanceOf(SyncError);
  await expect(full).rejects.toMatchObject({
    code: 'MAP_TOO_SMALL',
    retryable: true,
    hint: expect.stringContaining('map size') as string,
  });
});

test('this thread goes on while another process holds the write lock', async () => {
  const db = start();
  await db.open();
  const size = String(256 * 1024 ** 2);
  const other = spawn(process.execPath, [writer, file, size, '500'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(other, 'exit');
  await once(other.stdout, 'data');
  let turns = 0;
  const merging = db.merge(REQUEST);
  const counting = setInterval(() => {
    turns += 1;
  }, 1);
  const merged = await merging;
  clearInterval(counting);
  expect(merged.lockWaitMs).toBeGreaterThan(0);
  expect(turns).toBeGreaterThan(10);
  await exited;
});

test('what waits for a thread that ends by itself is rejected, and what comes later', async () => {
  const broken = path.join(folder, 'broken.cjs');
  fs.writeFileSync(
    broken,
    "require('node:worker_threads').parentPort.on('message', () => { throw new Error('a bug'); });",
  );
  const db = start({}, broken);
  await expect(db.open()).rejects.toThrow(/a bug/);
  await expect(db.detect()).rejects.toThrow(/a bug/);
});

test('after closing calls are rejected, and the LMDB can be opened again', async () => {
  const db = start();
  await db.open();
  await db.merge(REQUEST);
  await db.close();
  await expect(db.detect()).rejects.toThrow(/closed/);
  const again = start();
  expect(await again.open()).toMatchObject({ entries: 1, vector: REQUEST.vector });
});
