import type { LocalDatabase, MergeResult } from '../../../../agent/lmdb/local-database.ts';
import { objectSpool } from '../../../support/lmdb.ts';
import { LmdbHost, OWN_STREAM, REMOTE_STREAM } from '../../../support/lmdb-host.ts';

const VERSION_5 = '\0\0\0\u0005';
const VERSION_6 = '\0\0\0\u0006';
const ALLOWED = { allowSchemaUpgrade: true };

let host: LmdbHost;

beforeEach(() => {
  host = new LmdbHost();
});

afterEach(() => host.close());

function applicationIsAt(value: string, ts: number): void {
  host.application.put('pdns', 'schemaversion', { value, ts });
}

/** An upgraded host's object: its schema version and a zone. */
function merge(db: LocalDatabase, value = VERSION_6, ts = 100, seq = 1n): Promise<MergeResult> {
  return db.merge({
    name: 'x',
    spool: objectSpool({
      pdns: { entries: { other: { value: 'o', ts }, schemaversion: { value, ts } } },
      zones: { entries: { [`zone${seq}`]: { value: 'z', ts } } },
    }),
    vector: new Map([[REMOTE_STREAM, seq]]),
  });
}

const version = () => host.dbi('pdns')['schemaversion'];

test('a newer schema version is held back alone; the rest of its object is merged', async () => {
  applicationIsAt(VERSION_5, 50);
  const db = await host.start();
  const merged = await merge(db);
  expect(merged.detection.heldSchema).toEqual({ version: 6, localVersion: 5 });
  expect(version()).toMatchObject({ value: VERSION_5, ts: 50n });
  expect(host.dbi('pdns')['other']?.value).toBe('o');
  expect(host.zones()['zone1']?.value).toBe('z');
});

test.each([
  ['the same version, written later', VERSION_5, 100],
  ['a lower one', '\0\0\0\u0004', 100],
  ['a newer one that was written before ours', VERSION_6, 40],
  ['one that is no number', 'longer text', 100],
])('%s is a matter of time alone', async (_what, value, ts) => {
  applicationIsAt(VERSION_5, 50);
  const db = await host.start();
  expect((await merge(db, value, ts)).detection.heldSchema).toBeUndefined();
  expect(version()?.value).toBe(ts > 50 ? value : VERSION_5);
});

test('an LMDB without a schema version takes any', async () => {
  const db = await host.start();
  expect((await merge(db)).detection.heldSchema).toBeUndefined();
  expect(version()?.value).toBe(VERSION_6);
});

test('allow_schema_upgrade merges it like anything else', async () => {
  applicationIsAt(VERSION_5, 50);
  const db = await host.start(ALLOWED);
  expect((await merge(db)).detection.heldSchema).toBeUndefined();
  expect(version()).toMatchObject({ value: VERSION_6, ts: 100n });
});

test('the hold survives a restart, and ends with one that allows the upgrade: all is merged again', async () => {
  applicationIsAt(VERSION_5, 50);
  const first = await host.start();
  await host.sendAll(first);
  await merge(first);
  await host.kill(first);

  const second = await host.opened();
  expect(second.result).toMatchObject({
    vectorForgotten: false,
    vector: new Map([[REMOTE_STREAM, 1n]]),
    heldSchema: { version: 6, localVersion: 5 },
  });
  await host.kill(second.db);

  const third = await host.opened(ALLOWED);
  expect(third.result).toMatchObject({ vectorForgotten: true, vector: new Map() });
  expect(third.result.heldSchema).toBeUndefined();
  await merge(third.db);
  expect(version()).toMatchObject({ value: VERSION_6, ts: 100n });
  await host.kill(third.db);

  const { result } = await host.opened();
  expect(result.vectorForgotten).toBe(false);
  expect(result.heldSchema).toBeUndefined();
});

test('where only the held entry differs nothing says that it was merged', async () => {
  applicationIsAt(VERSION_5, 50);
  const db = await host.start();
  const spool = objectSpool({
    pdns: { entries: { schemaversion: { value: VERSION_6, ts: 100 } } },
  });
  const vector = new Map([[REMOTE_STREAM, 1n]]);
  expect(await db.merge({ name: 'x', spool, vector })).toMatchObject({ transactions: 0 });
  await db.persist({ vector });
  await host.kill(db);
  const { result } = await host.opened(ALLOWED);
  expect(result.vectorForgotten).toBe(true);
});

test('an upgrade of the application here ends the hold, and its entry meets the held one', async () => {
  applicationIsAt(VERSION_5, 50);
  const db = await host.start();
  await merge(db);
  applicationIsAt(VERSION_6, 60);
  const detection = await db.detect();
  expect(detection).toMatchObject({ vectorForgotten: true });
  expect(detection.heldSchema).toBeUndefined();
  await merge(db);
  expect(version()).toMatchObject({ value: VERSION_6, ts: 100n });
});

test('an entry here that beats the held one ends the hold, and nothing is read again', async () => {
  applicationIsAt(VERSION_5, 50);
  const db = await host.start();
  await merge(db);
  applicationIsAt(VERSION_5, 200);
  const detection = await db.detect();
  expect(detection.vectorForgotten).toBe(false);
  expect(detection.heldSchema).toBeUndefined();
});

test("while something is held back, a full snapshot covers no other host's objects", async () => {
  applicationIsAt(VERSION_5, 50);
  const db = await host.start();
  await merge(db);
  const held = await host.sendAll(db, new Map([[REMOTE_STREAM, 1n]]));
  expect([...(held.vector ?? [])]).toEqual([[OWN_STREAM, 1n]]);

  applicationIsAt(VERSION_6, 200);
  await db.detect();
  await merge(db, VERSION_6, 100, 2n);
  const free = await host.sendAll(db, new Map([[REMOTE_STREAM, 2n]]));
  expect(free.vector?.get(REMOTE_STREAM)).toBe(2n);
});

test('in shadow mode it is held back, too', async () => {
  const plain = (value: number) => Buffer.from(new Uint32Array([value]).buffer);
  host.application.put('pdns', 'schemaversion', { raw: plain(4), ts: 0 });
  const db = await host.start({ schemaTracksChanges: false });
  await host.sendAll(db);
  const later = 2n ** 62n;
  const merged = await db.merge({
    name: 'x',
    spool: objectSpool({
      pdns: { entries: { schemaversion: { value: plain(5).toString('latin1'), ts: later } } },
    }),
    vector: new Map([[REMOTE_STREAM, 1n]]),
  });
  expect(merged.detection.heldSchema).toEqual({ version: 5, localVersion: 4 });
});

test('a merge that is read twice, for its size, holds it back, too', async () => {
  applicationIsAt(VERSION_5, 50);
  const db = await host.start({ maxLockHoldMs: 10_000 });
  const entries: Record<string, { value: string; ts: number }> = {};
  for (let i = 0; i < 40_000; i += 1) {
    entries[`zone${String(i).padStart(6, '0')}`] = { value: 'z'.repeat(200), ts: 100 };
  }
  const merged = await db.merge({
    name: 'x',
    spool: objectSpool({
      zones: { entries },
      pdns: { entries: { schemaversion: { value: VERSION_6, ts: 100 } } },
    }),
    vector: new Map([[REMOTE_STREAM, 1n]]),
  });
  expect(merged).toMatchObject({ changed: 40_000, detection: { heldSchema: { version: 6 } } });
  await host.kill(db);
  const { result } = await host.opened();
  expect(result.heldSchema).toEqual({ version: 6, localVersion: 5 });
});
