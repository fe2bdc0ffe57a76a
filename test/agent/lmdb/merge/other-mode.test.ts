import type { EncodedObject } from '../../../../agent/lmdb/local-database.ts';
import { objectSpool, readEncodedSink, dumpRaw } from '../../../support/lmdb.ts';
import { LmdbHost, OWN_STREAM, REMOTE_STREAM } from '../../../support/lmdb-host.ts';
import { errorCodeOf } from '../../../support/fixtures.ts';

const NATIVE = { schemaTracksChanges: true };
const SHADOW = { schemaTracksChanges: false };

let host: LmdbHost;

beforeEach(() => {
  host = new LmdbHost();
});

afterEach(() => host.close());

const object = (schemaMode: string | undefined) => ({
  name: 'x',
  spool: objectSpool({ zones: { entries: { k: { value: 'theirs', ts: 10 } } } }, { schemaMode }),
  vector: new Map([[REMOTE_STREAM, 1n]]),
});

async function statedMode(encoded: EncodedObject | undefined): Promise<string | undefined> {
  return encoded && (await readEncodedSink(encoded.spool)).meta?.schemaMode;
}

test.each([
  [NATIVE, 'shadow'],
  [SHADOW, 'native'],
  [NATIVE, 'a later mode'],
])(
  'in mode %j an object of mode "%s" is refused, and nothing of it is written',
  async (options, mode) => {
    const db = await host.start(options);
    const before = dumpRaw(host.file);
    expect(await errorCodeOf(() => db.merge(object(mode)))).toBe('SNAPSHOT_OTHER_MODE');
    expect(dumpRaw(host.file)).toEqual(before);
  },
);

test.each([
  [NATIVE, 'native'],
  [NATIVE, undefined],
  [SHADOW, 'shadow'],
  [SHADOW, undefined],
])('in mode %j an object that states %s is merged', async (options, mode) => {
  const db = await host.start(options);
  expect(await db.merge(object(mode))).toMatchObject({ changed: 1 });
  expect(host.zones()).toHaveProperty('k');
});

test.each([
  [NATIVE, 'native'],
  [SHADOW, 'shadow'],
])('in mode %j snapshots and deltas say "%s"', async (options, mode) => {
  const db = await host.start(options);
  const raw = options.schemaTracksChanges ? {} : { raw: Buffer.from('plain') };
  host.application.put('zones', 'k', { value: 'v', ts: 10, ...raw });
  const { object: snapshot } = await db.encodeSnapshot(host.next());
  expect(await statedMode(snapshot)).toBe(mode);
  await db.acknowledge(snapshot?.token ?? 0);
  host.application.put('zones', 'l', { value: 'v', ts: 10, ...raw });
  const { object: delta } = await db.encodeDelta(host.next());
  expect(await statedMode(delta)).toBe(mode);
});

test('an LMDB whose agent was in another mode is sent and merged anew, but for its own objects', async () => {
  // Shadow mode over values with headers, as a forgotten line has it.
  const wrong = await host.start({ ...SHADOW, schemaCheck: false });
  host.application.put('zones', 'k', { value: 'v', ts: 10 });
  await host.sendAll(wrong);
  await wrong.merge(object('shadow'));
  await host.sendAll(
    wrong,
    new Map([
      [OWN_STREAM, 2n],
      [REMOTE_STREAM, 1n],
    ]),
  );
  await host.kill(wrong);

  const { db, result } = await host.opened({ ...NATIVE, run: 'runa2' });
  expect(result).toMatchObject({ uploadedTxn: undefined, vectorForgotten: false });
  expect([...result.vector]).toEqual([[OWN_STREAM, 2n]]);
  const sent = await db.encodeSnapshot(host.next());
  expect(await statedMode(sent.object)).toBe('native');
  expect(sent.object?.vector?.get(OWN_STREAM)).toBe(2n);
  await db.acknowledge(sent.object?.token ?? 0);
  await db.persist({ vector: new Map([[OWN_STREAM, 2n]]) });
  await host.kill(db);

  // The same mode again: nothing is to be done.
  const again = await host.opened({ ...NATIVE, run: 'runa3' });
  expect(again.result.uploadedTxn).toBeDefined();
  expect(again.result.pendingScan).toBe(false);
  expect(again.result.pendingKeys).toBe(0);
});
