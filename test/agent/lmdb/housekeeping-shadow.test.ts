import { objectSpool } from '../../support/lmdb.ts';
import { ShadowHost } from '../../support/shadow.ts';

// Where we keep the registers, the application's own entries go with them.

let host: ShadowHost;

beforeEach(() => {
  host = new ShadowHost();
});

afterEach(async () => {
  await host.close();
});

const ALL = { rejoinBeforeNs: 0n, from: undefined, lockMs: 50 };

test('a sweep removes old tombstones of the registers, and nothing of the application', async () => {
  host.application.write((txn) => {
    txn.put('zones', 'a', '1');
    txn.put('zones', 'b', '2');
  });
  const db = await host.start();
  await host.encode(db, 'snapshot');
  host.application.remove('zones', 'a');
  await host.sendDelta(db);
  const slice = await db.sweep({ ...ALL, cutoffNs: host.now + 1n });
  expect(slice).toMatchObject({ removed: 1, entries: 1, tombstones: 0 });
  expect(host.dump()).toEqual({ zones: { b: '2' }, _sync_shadow_zones: { b: '2@1' } });
  expect(await db.detect()).toMatchObject({ newChanges: 0, pendingKeys: 0 });
});

test('an entry that a rejoin drops goes on both sides, and is no local deletion', async () => {
  host.application.write((txn) => {
    txn.put('zones', 'a', '1');
    txn.put('zones', 'b', '2');
  });
  const db = await host.start();
  await host.encode(db, 'snapshot');
  await db.beginRejoin();
  const spool = objectSpool({ zones: { transform: '', entries: { b: { ts: 1, value: '2' } } } });
  await db.merge({ name: 'x', spool, vector: new Map() });
  const rejoined = await db.finishRejoin({ othersWrote: true, staleBeforeNs: 0n, nowNs: host.now });
  expect(rejoined).toMatchObject({ dropped: 1, stamped: 0 });
  expect(host.dump()).toEqual({ zones: { b: '2' }, _sync_shadow_zones: { b: '2@1' } });
  expect(await db.detect()).toMatchObject({ newChanges: 0, pendingKeys: 0 });
});
