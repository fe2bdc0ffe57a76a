import { encodePair } from '../../../../protocol/dupsort-hack.ts';
import { ShadowHost } from '../../../support/shadow.ts';

let host: ShadowHost;

beforeEach(() => {
  host = new ShadowHost();
});

afterEach(() => host.close());

const transform = 'dupsort_hack_v1';

function pairKey(key: string, value: string): string {
  return encodePair(Buffer.from(key), Buffer.from(value))!.toString('latin1');
}

test('a sweep removes old tombstones from the shadow, and the application sees nothing of it', async () => {
  const db = await host.start();
  await host.merge(db, {
    zones: {
      entries: {
        gone: { ts: 10, deleted: true },
        'gone later': { ts: 30, deleted: true },
        here: { value: '1', ts: 10 },
      },
    },
  });
  const slice = await db.sweep({ from: undefined, cutoffNs: 20n, rejoinBeforeNs: 30n, lockMs: 50 });
  expect(slice).toMatchObject({ removed: 1, next: undefined });
  expect(host.dump()).toEqual({
    zones: { here: '1' },
    _sync_shadow_zones: { 'gone later': 'x@30', here: '1@10' },
  });
  expect(await db.detect()).toMatchObject({ pendingKeys: 0, regressions: 0 });
});

test('a sweep removes what was deleted here, once it is sent', async () => {
  host.application.write((txn) => {
    txn.put('zones', 'a', '1');
    txn.put('zones', 'b', '2');
  });
  const db = await host.start();
  await host.encode(db, 'snapshot');
  host.application.remove('zones', 'a');
  const sweep = { from: undefined, rejoinBeforeNs: 0n, lockMs: 50 };
  await db.detect();
  expect(await db.sweep({ ...sweep, cutoffNs: host.now + 1n })).toMatchObject({ removed: 0 });
  await host.sendDelta(db);
  const slice = await db.sweep({ ...sweep, cutoffNs: host.now + 1n });
  expect(slice).toMatchObject({ removed: 1, entries: 1, tombstones: 0 });
  expect(host.dump()).toEqual({ zones: { b: '2' }, _sync_shadow_zones: { b: '2@1' } });
  expect(await db.detect()).toMatchObject({ newChanges: 0, pendingKeys: 0 });
});

test('what others have deleted and swept goes from both sides at a rejoin', async () => {
  const db = await host.start({ dupsortHack: true });
  const kept = { keep: { value: '1', ts: 10 } };
  await host.merge(db, {
    index: { flags: 4, transform, entries: { [pairKey('a', '1')]: { value: '1', ts: 10 } } },
    zones: { entries: { gone: { value: '1', ts: 10 }, ...kept } },
  });
  host.application.put('zones', 'unsent', 'local');
  await db.detect();
  await db.beginRejoin();
  await host.merge(db, { zones: { entries: kept } });
  const nowNs = host.now + 1_000_000_000n;
  const result = await db.finishRejoin({ othersWrote: true, staleBeforeNs: nowNs, nowNs });
  expect(result).toMatchObject({ dropped: 2, stamped: 1 });
  expect(host.dump()).toEqual({
    index: {},
    zones: { keep: '1', unsent: 'local' },
    _sync_shadow_index: {},
    _sync_shadow_zones: { keep: '1@10', unsent: `local@${nowNs}` },
  });
  expect(await host.sendDelta(db)).toEqual({ zones: { unsent: `local@${nowNs}` } });
});
