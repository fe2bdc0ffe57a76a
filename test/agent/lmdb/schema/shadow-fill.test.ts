import { Environment } from '../../../../agent/lmdb/environment.ts';
import { FILL_ENTRIES_MIN } from '../../../../agent/lmdb/limits.ts';
import { before } from '../../../support/interpose.ts';
import { putSingly } from '../../../support/lmdb-writer/plain-writes.ts';
import { readEncoded } from '../../../support/lmdb.ts';
import { ShadowHost } from '../../../support/shadow.ts';

const MDB_REVERSEKEY = 2;
const MDB_DUPSORT = 4;
const MDB_INTEGERKEY = 8;
const MANY = 6 * FILL_ENTRIES_MIN;

let host: ShadowHost;

beforeEach(() => {
  host = new ShadowHost();
});

afterEach(async () => {
  jest.restoreAllMocks();
  await host.close();
});

function keyOf(index: number): string {
  return `key-${String(index).padStart(6, '0')}`;
}

function fill(dbi: string, key: (index: number) => string | Buffer = keyOf): void {
  host.application.write((txn) => {
    for (let i = 0; i < MANY; i += 1) {
      txn.put(dbi, key(i), `value ${i}`);
    }
  });
}

/** What the registers must say: each with the time of a first start, but for `changed`. */
function registers(changed: Record<string, string> = {}): Record<string, string> {
  const all: Record<string, string> = {};
  for (let i = 0; i < MANY; i += 1) {
    all[keyOf(i)] = `value ${i}@1`;
  }
  return { ...all, ...changed };
}

test.each([
  ['in one call', () => {}],
  ['one by one', putSingly],
])('a first start gives each entry its register, put %s', async (_, prepare) => {
  fill('r');
  prepare();
  const { db, result } = await host.opened();
  expect(host.dump()).toMatchObject({ _sync_shadow_r: registers() });
  expect(result).toMatchObject({ newChanges: MANY, futureEntries: 0, hasData: true });
  const spool = await host.encode(db, 'snapshot');
  expect(await readEncoded(spool!)).toEqual({ r: registers() });
  expect(await db.detect()).toMatchObject({ newChanges: 0, pendingKeys: 0, regressions: 0 });
});

test.each([
  ['integers', MDB_INTEGERKEY],
  ['reversed', MDB_REVERSEKEY],
])('keys that are %s find their order', async (_, flags) => {
  host.application.create('r', flags);
  fill('r', (index) => {
    const key = Buffer.alloc(4);
    key.writeUInt32LE(index * 77);
    return key;
  });
  const db = await host.start();
  const { r = {}, _sync_shadow_r: shadow = {} } = host.dump();
  expect(Object.keys(shadow).toSorted()).toEqual(Object.keys(r).toSorted());
  await host.kill(db);
  const again = await host.start({ run: 'runb' });
  expect(await again.detect()).toMatchObject({ newChanges: 0 });
});

test('DBIs of duplicate values and small ones get theirs as before', async () => {
  host.application.create('pairs', MDB_DUPSORT);
  host.application.write((txn) => {
    txn.put('pairs', 'a', '1');
    txn.put('pairs', 'a', '2');
    txn.put('few', 'a', '1');
  });
  fill('r');
  await host.start({ dupsortHack: true });
  const { _sync_shadow_pairs: pairs = {}, _sync_shadow_few: few } = host.dump();
  expect(Object.keys(pairs)).toHaveLength(2);
  expect(few).toEqual({ a: '1@1' });
});

test('registers go in short transactions, and what goes in them is no merge of ours', async () => {
  fill('r');
  const write = jest.spyOn(Environment.prototype, 'write');
  const db = await host.start({ maxLockHoldMs: 1 });
  expect(write.mock.calls.length).toBeGreaterThan(3);
  // A merge right behind them must not make them pass for merged ones.
  await host.merge(db, { r: { entries: { new: { value: 'remote', ts: 5 } } } });
  await host.kill(db);
  const again = await host.start({ run: 'runb' });
  expect(await host.sendDelta(again)).toEqual({ r: registers() });
});

test.each([1, 2, 3, 5])(
  'what the application does before transaction %i of a first start is stamped with its time',
  async (call) => {
    fill('r');
    before('write', call, () =>
      host.application.write((txn) => {
        txn.put('r', keyOf(1), 'changed low');
        txn.put('r', keyOf(MANY - 2), 'changed high');
        txn.remove('r', keyOf(0));
        txn.remove('r', keyOf(MANY - 1));
        txn.put('r', 'between', 'new');
      }),
    );
    const db = await host.start({ maxLockHoldMs: 1 });
    await db.detect();
    jest.restoreAllMocks();
    const { r = {}, _sync_shadow_r: shadow = {} } = host.dump();
    const { now } = host;
    expect(shadow).toMatchObject({
      [keyOf(1)]: `changed low@${now}`,
      [keyOf(MANY - 2)]: `changed high@${now}`,
      between: `new@${now}`,
      [keyOf(2)]: 'value 2@1',
    });
    const live = Object.entries(shadow).filter(([, text]) => !text.startsWith('x@'));
    expect(live.map(([key, text]) => [key, text.replace(/@\d+$/, '')])).toEqual(Object.entries(r));
  },
);

test('what no register can hold is left alone and told', async () => {
  fill('r');
  host.application.put('r', 'k'.repeat(600), 'value');
  const db = await host.start();
  expect(await db.detect()).toMatchObject({ leftOut: { entries: 1 } });
  expect(host.dump()._sync_shadow_r).toEqual(registers());
});
