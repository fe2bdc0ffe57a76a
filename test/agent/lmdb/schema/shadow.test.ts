import { Environment } from '../../../../agent/lmdb/environment.ts';
import { before } from '../../../support/interpose.ts';
import { dbiFlags, lastTxn, objectSpool, readEncodedSink } from '../../../support/lmdb.ts';
import { PlainApplication, ShadowHost } from '../../../support/shadow.ts';

let host: ShadowHost;

beforeEach(() => {
  host = new ShadowHost();
});

afterEach(async () => {
  jest.restoreAllMocks();
  await host.close();
});

describe('a local change', () => {
  test('is stamped with the time at which it was found, and alone sent', async () => {
    host.application.write((txn) => {
      txn.put('zones', 'a', '1');
      txn.put('zones', 'b', '2');
    });
    const db = await host.start();
    await host.encode(db, 'snapshot');
    host.clock.advanceMs(5);
    host.application.put('zones', 'a', 'new');
    expect(await db.detect()).toMatchObject({ newChanges: 1, pendingKeys: 1, regressions: 0 });
    expect(await host.sendDelta(db)).toEqual({ zones: { a: `new@${host.now}` } });
    expect(host.dump()).toEqual({
      zones: { a: 'new', b: '2' },
      _sync_shadow_zones: { a: `new@${host.now}`, b: '2@1' },
    });
  });

  test('that is a deletion leaves a tombstone', async () => {
    host.application.put('zones', 'a', '1');
    const db = await host.start();
    await host.encode(db, 'snapshot');
    host.application.remove('zones', 'a');
    expect(await host.sendDelta(db)).toEqual({ zones: { a: `x@${host.now}` } });
    expect(host.dump()).toMatchObject({ zones: {}, _sync_shadow_zones: { a: `x@${host.now}` } });
  });

  test('of the same value again is none, and takes no write transaction', async () => {
    host.application.put('zones', 'a', '1');
    const db = await host.start();
    await host.encode(db, 'snapshot');
    host.application.put('zones', 'a', '1');
    const txn = lastTxn(host.file);
    expect(await db.detect()).toMatchObject({ newChanges: 0, pendingKeys: 0 });
    expect(lastTxn(host.file)).toBe(txn);
  });

  test.each([
    ['a value', () => host.application.put('zones', 'a', 'local'), 'local'],
    ['a deletion', () => host.application.remove('zones', 'a'), 'x'],
  ])('of something newer is a nanosecond above it: %s', async (_what, change, text) => {
    const db = await host.start();
    const ahead = host.now + 30_000_000_000n;
    await host.merge(db, { zones: { entries: { a: { value: 'remote', ts: ahead } } } });
    change();
    expect(await host.sendDelta(db)).toEqual({ zones: { a: `${text}@${ahead + 1n}` } });
  });

  test('of something from the end of time loses', async () => {
    const db = await host.start();
    const last = 0xffff_ffff_ffff_ffffn;
    await host.merge(db, { zones: { entries: { a: { value: 'remote', ts: last } } } });
    host.application.put('zones', 'a', 'local');
    expect(await host.sendDelta(db)).toEqual({});
    expect(host.dump().zones).toEqual({ a: 'remote' });
  });

  test('in a DBI that is new is found, and its shadow made, as for an empty one', async () => {
    const db = await host.start();
    host.application.create('ids', 8);
    host.application.create('empty', 2);
    host.application.put('ids', Buffer.from('00000000', 'hex'), 'zero');
    expect(await db.detect()).toMatchObject({ pendingKeys: 1 });
    expect(dbiFlags(host.file)).toEqual({
      ids: 8,
      empty: 2,
      _sync_shadow_ids: 8,
      _sync_shadow_empty: 0,
    });
    const spool = await host.encode(db, 'snapshot');
    const sink = await readEncodedSink(spool!);
    expect(sink.dbis.map(({ name, flags }) => ({ name, flags }))).toEqual([
      { name: 'empty', flags: 2 },
      { name: 'ids', flags: 8 },
    ]);
  });

  test('is found among very many, in transactions that hold the lock for a short time', async () => {
    const db = await host.start({ maxLockHoldMs: 100 });
    const count = 120_000;
    const keyOf = (i: number) => `key-${i.toString().padStart(8, '0')}`;
    host.application.write((txn) => {
      for (let i = 0; i < count; i += 1) {
        txn.put('zones', keyOf(i), 'v');
      }
    });
    const writes = jest.spyOn(Environment.prototype, 'write');
    await db.detect();
    expect(writes.mock.calls.length).toBeGreaterThan(3);
    host.application.put('zones', keyOf(count - 1), 'changed');
    await db.detect();
    const shadow = host.dump()._sync_shadow_zones ?? {};
    expect(Object.keys(shadow)).toHaveLength(count);
    expect(shadow[keyOf(count - 1)]).toBe(`changed@${host.now + 1n}`);
  });

  test('made when the application has enlarged the map is found by comparing everything', async () => {
    host.application.write((txn) => {
      for (const key of ['a', 'b', 'c']) {
        txn.put('zones', key, '1');
      }
    });
    const db = await host.start();
    await host.encode(db, 'snapshot');
    const larger = new PlainApplication(host.file, { mapSize: 512 * 1024 ** 2 });
    larger.write((txn) => {
      txn.put('zones', 'a', '2');
      txn.remove('zones', 'b');
    });
    expect(await host.sendDelta(db)).toEqual({
      zones: { a: `2@${host.now}`, b: `x@${host.now}` },
    });
    await host.kill(db);
    await larger.close();
  });

  test('that drops a DBI is the deletion of its entries', async () => {
    host.application.create('index', 4);
    host.application.put('index', 'a', '1');
    host.application.put('zones', 'k', 'v');
    const db = await host.start({ dupsortHack: true });
    await host.encode(db, 'snapshot');
    host.application.write((txn) => {
      txn.drop('index');
      txn.drop('zones');
    });
    const sink = await readEncodedSink((await host.encode(db, 'delta'))!);
    expect(sink.dbis).toMatchObject([
      { name: 'index', flags: 4, transform: 'dupsort_hack_v1', entries: [{ flags: 1 }] },
      { name: 'zones', flags: 0, transform: '', entries: [{ flags: 1 }] },
    ]);
  });
});

describe('what the application changed while no agent ran', () => {
  const LAST_SYNC = 1_700_000_000_000_000_000n;

  async function stopped(): Promise<void> {
    host.application.write((txn) => {
      for (const key of ['modify', 'delete', 'keep']) {
        txn.put('r', key, 'first');
      }
    });
    const db = await host.start();
    await host.encode(db, 'snapshot');
    await db.persist({ vector: new Map(), lastSyncNs: LAST_SYNC, entriesAtStop: true });
    await host.kill(db);
    host.application.write((txn) => {
      txn.put('r', 'modify', 'while stopped');
      txn.remove('r', 'delete');
      txn.put('r', 'add', 'while stopped');
    });
  }

  test('has the time of the last sync', async () => {
    await stopped();
    const { db, result } = await host.opened({ run: 'runb' });
    expect(result).toMatchObject({ pendingKeys: 3, newChanges: 3, vectorForgotten: false });
    expect(await host.sendDelta(db)).toEqual({
      r: {
        add: `while stopped@${LAST_SYNC}`,
        delete: `x@${LAST_SYNC}`,
        modify: `while stopped@${LAST_SYNC}`,
      },
    });
  });

  test('is above what it replaced', async () => {
    const db = await host.start();
    const ahead = LAST_SYNC + 77n;
    await host.merge(db, { r: { entries: { a: { value: 'remote', ts: ahead } } } });
    await db.persist({ vector: new Map(), lastSyncNs: LAST_SYNC });
    await host.kill(db);
    host.application.remove('r', 'a');
    const next = await host.start({ run: 'runb' });
    expect(await host.sendDelta(next)).toEqual({ r: { a: `x@${ahead + 1n}` } });
  });

  test('and what it changes from then on has the time of now', async () => {
    await stopped();
    before('write', 1, () => host.application.put('r', 'add', 'just now'));
    const db = await host.start({ run: 'runb' });
    expect((await host.sendDelta(db)).r).toMatchObject({
      add: `just now@${host.now}`,
      delete: `x@${LAST_SYNC}`,
    });
  });

  test('is kept also where nothing was ever synced', async () => {
    host.application.put('r', 'a', '1');
    await host.kill(await host.start());
    host.application.put('r', 'a', '2');
    host.application.put('r', 'b', '1');
    const db = await host.start({ run: 'runb' });
    expect(await host.sendDelta(db)).toEqual({ r: { a: '2@2', b: '1@1' } });
  });

  test('leaves nothing to do at the next start', async () => {
    host.application.put('r', 'a', '1');
    const first = await host.start();
    await host.encode(first, 'snapshot');
    await first.persist({ vector: new Map(), lastSyncNs: LAST_SYNC, entriesAtStop: true });
    await host.kill(first);
    const txn = lastTxn(host.file);
    const { result } = await host.opened({ run: 'runb' });
    expect(result).toMatchObject({ pendingKeys: 0, pendingScan: false, newChanges: 0 });
    expect(lastTxn(host.file)).toBe(txn);
  });
});

describe('a merge', () => {
  test('is written to both sides and is no change of ours', async () => {
    host.application.write((txn) => {
      txn.put('zones', 'old', '1');
      txn.put('zones', 'gone', '1');
    });
    const db = await host.start();
    await host.encode(db, 'snapshot');
    const result = await host.merge(db, {
      zones: {
        entries: {
          gone: { ts: 10, deleted: true },
          new: { value: 'n', ts: 11 },
          old: { value: 'o', ts: 12 },
        },
      },
    });
    expect(result).toMatchObject({ entries: 3, changed: 3, transactions: 1 });
    expect(host.dump()).toEqual({
      zones: { new: 'n', old: 'o' },
      _sync_shadow_zones: { gone: 'x@10', new: 'n@11', old: 'o@12' },
    });
    expect(await db.detect()).toMatchObject({ pendingKeys: 0, newChanges: 0 });
    expect(await host.sendDelta(db)).toEqual({});
  });

  test('of what is there already takes no write transaction', async () => {
    const db = await host.start();
    const content = { zones: { entries: { a: { value: '1', ts: 10 } } } };
    await host.merge(db, content);
    const txn = lastTxn(host.file);
    expect(await host.merge(db, content)).toMatchObject({ changed: 0, transactions: 0 });
    expect(lastTxn(host.file)).toBe(txn);
  });

  test('keeps empty values of live entries apart from deletions, both ways', async () => {
    const db = await host.start();
    await host.merge(db, { r: { entries: { a: { value: '', ts: 10 } } } });
    expect(host.dump().r).toEqual({ a: '' });
    host.application.put('r', 'b', '');
    expect(await host.sendDelta(db)).toEqual({ r: { b: `@${host.now}` } });
    await host.merge(db, { r: { entries: { a: { ts: 11, deleted: true } } } });
    expect(host.dump().r).toEqual({ b: '' });
    host.application.put('r', 'a', '');
    expect(await host.sendDelta(db)).toEqual({ r: { a: `@${host.now}` } });
  });

  test('into integer keys with zero and into reversed keys works, and back', async () => {
    const zero = '\0\0\0\0';
    const db = await host.start();
    await host.merge(db, {
      ids: { flags: 8, entries: { [zero]: { value: 'zero', ts: 10 } } },
      names: { flags: 2, entries: { ba: { value: '1', ts: 10 }, ab: { value: '2', ts: 10 } } },
    });
    expect(dbiFlags(host.file)).toMatchObject({ ids: 8, names: 2, _sync_shadow_names: 0 });
    expect(host.dump()).toMatchObject({ ids: { [zero]: 'zero' }, names: { ba: '1', ab: '2' } });
    host.application.write((txn) => {
      txn.put('ids', zero, 'nil');
      txn.put('names', 'za', '3');
      txn.remove('names', 'ab');
    });
    expect(await host.sendDelta(db)).toEqual({
      ids: { [zero]: `nil@${host.now}` },
      names: { ab: `x@${host.now}`, za: `3@${host.now}` },
    });
    await host.kill(db);
    host.application.put('names', 'bz', '4');
    const next = await host.start({ run: 'runb' });
    expect((await host.sendDelta(next)).names).toMatchObject({ bz: '4@1' });
  });

  test('creates a DBI with the configured flags instead of those in the snapshot', async () => {
    const db = await host.start({ createFlags: { ids: 8 } });
    await host.merge(db, { ids: { entries: { '\x01\0\0\0': { value: '1', ts: 10 } } } });
    expect(dbiFlags(host.file)).toMatchObject({ ids: 8, _sync_shadow_ids: 8 });
  });
});

describe('an application’s write right before the write lock of a merge', () => {
  test('is stamped first, so that it wins, and is sent', async () => {
    const db = await host.start();
    before('write', 1, () => host.application.put('zones', 'a', 'local'));
    await host.merge(db, {
      zones: { entries: { a: { value: 'remote', ts: 10 }, b: { value: 'remote', ts: 10 } } },
    });
    expect(host.dump().zones).toEqual({ a: 'local', b: 'remote' });
    expect(await host.sendDelta(db)).toEqual({ zones: { a: `local@${host.now}` } });
  });

  test('loses against an entry from the future', async () => {
    const db = await host.start();
    const ahead = host.now + 1_000_000n;
    before('write', 1, () => host.application.put('zones', 'a', 'local'));
    await host.merge(db, { zones: { entries: { a: { value: 'remote', ts: ahead } } } });
    expect(host.dump()).toMatchObject({
      zones: { a: 'remote' },
      _sync_shadow_zones: { a: `remote@${ahead}` },
    });
  });

  test('of very many entries goes first, in transactions of its own', async () => {
    const db = await host.start();
    const count = 2500;
    before('write', 1, () =>
      host.application.write((txn) => {
        for (let i = 0; i < count; i += 1) {
          txn.put('zones', `key-${i}`, 'local');
        }
      }),
    );
    await host.merge(db, { zones: { entries: { 'key-7': { value: 'remote', ts: 10 } } } });
    expect(host.dump().zones?.['key-7']).toBe('local');
    expect(await db.detect()).toMatchObject({ pendingKeys: count });
  });
});

describe('an application’s write right after a merge', () => {
  test.each([
    ['is a local change', 'new', 'local'],
    ['that removes what was new with it is a deletion', 'new', undefined],
  ])('%s', async (_what, key, value) => {
    const db = await host.start();
    before('beginRead', 2, () => {
      if (value === undefined) {
        host.application.remove('zones', key);
      } else {
        host.application.put('zones', key, value);
      }
    });
    await host.merge(db, { zones: { entries: { [key]: { value: 'remote', ts: 10 } } } });
    expect(await host.sendDelta(db)).toEqual({
      zones: { [key]: `${value ?? 'x'}@${host.now}` },
    });
    expect(host.dump().zones).toEqual(value === undefined ? {} : { [key]: value });
  });
});

test('a received DBI of a private name is left out', async () => {
  const db = await host.start();
  const spool = objectSpool({ _sync_shadow_x: { entries: { a: { value: '1', ts: 1 } } } });
  const merged = await db.merge({ name: 'remote', spool, vector: new Map() });
  expect(merged).toMatchObject({ skippedDbis: ['_sync_shadow_x'], changed: 0 });
});
