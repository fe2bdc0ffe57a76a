import { encodePair } from '../../../../protocol/dupsort-hack.ts';
import { dbiFlags } from '../../../support/lmdb.ts';
import { ShadowHost } from '../../../support/shadow.ts';

let host: ShadowHost;

beforeEach(() => {
  host = new ShadowHost();
});

afterEach(() => host.close());

function pairKey(key: string, value: string): string {
  return encodePair(Buffer.from(key), Buffer.from(value))!.toString('latin1');
}

describe('duplicate values', () => {
  test('without dupsort_hack are refused at start', async () => {
    host.application.create('index', 4);
    host.application.put('index', 'a', '1');
    await expect(host.start()).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('index') as string,
    });
  });

  test('without dupsort_hack are refused when they appear, and nothing is lost', async () => {
    const db = await host.start();
    host.application.put('zones', 'a', '1');
    host.application.create('index', 4);
    await expect(db.detect()).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    host.application.write((txn) => txn.drop('index'));
    expect(await db.detect()).toMatchObject({ pendingKeys: 1 });
  });

  test('of a remote instance are refused without dupsort_hack', async () => {
    const db = await host.start();
    const merged = host.merge(db, {
      index: { flags: 4, transform: 'dupsort_hack_v1', entries: {} },
    });
    await expect(merged).rejects.toMatchObject({ code: 'SNAPSHOT_REJECTED' });
  });

  test.each([
    ['a key that is none', 'plain', 'v'],
    ['a key of another value', pairKey('a', '1'), '2'],
    ['an empty value', pairKey('a', ''), ''],
  ])('of a remote instance with %s are refused', async (_what, key, value) => {
    const db = await host.start({ dupsortHack: true });
    const merged = host.merge(db, {
      index: { flags: 4, transform: 'dupsort_hack_v1', entries: { [key]: { value, ts: 1 } } },
    });
    await expect(merged).rejects.toMatchObject({ code: 'SNAPSHOT_REJECTED' });
    expect(host.dump()).toEqual({});
  });

  test('are not mixed with a DBI of single values', async () => {
    host.application.put('zones', 'a', '1');
    host.application.create('index', 4);
    const db = await host.start({ dupsortHack: true });
    const transform = 'dupsort_hack_v1';
    await expect(
      host.merge(db, { zones: { flags: 4, transform, entries: {} } }),
    ).rejects.toMatchObject({ code: 'SNAPSHOT_REJECTED' });
    await expect(host.merge(db, { index: { entries: {} } })).rejects.toMatchObject({
      code: 'SNAPSHOT_REJECTED',
    });
  });

  test('that no key can stand for are counted and left alone, and the rest goes on', async () => {
    const long = 'v'.repeat(506);
    host.application.create('index', 4);
    host.application.write((txn) => {
      txn.put('index', 'k'.repeat(256), 'too long a key');
      txn.put('index', 'a', `${long}1`);
      txn.put('index', 'a', `${long}2`);
      txn.put('index', 'b', 'fine');
    });
    const { db, result } = await host.opened({ dupsortHack: true });
    expect(result).toMatchObject({ invalidValues: 2, pendingKeys: 1 });
    // When one of the two is gone, the other one can be told.
    host.application.remove('index', 'a', `${long}1`);
    expect(await db.detect()).toMatchObject({ invalidValues: 1, pendingKeys: 2 });
    expect(host.dump().index).toMatchObject({ b: 'fine', a: `${long}2` });
  });

  test.each([
    ['plain', 4],
    ['fixed', 4 + 16],
    ['integers', 4 + 16 + 32],
    ['reversed', 4 + 64],
    ['with integer keys', 4 + 8],
  ])('%s travel both ways', async (_what, flags) => {
    const [k1, k2] = ['\x01\0\0\0', '\x02\0\0\0'];
    const [v1, v2, v3] = ['\x01\0\0\0', '\x02\x01\0\0', '\x03\0\x02\0'];
    const db = await host.start({ dupsortHack: true });
    const transform = 'dupsort_hack_v1';
    const entry = (value: string, ts: number) => ({ [pairKey(k1, value)]: { value, ts } });
    await host.merge(db, {
      index: { flags, transform, entries: { ...entry(v1, 10), ...entry(v2, 10) } },
    });
    expect(dbiFlags(host.file)).toMatchObject({ index: flags, _sync_shadow_index: 0 });
    host.application.write((txn) => {
      txn.put('index', k1, v3);
      txn.remove('index', k1, v2);
      txn.put('index', k2, v1);
    });
    expect((await host.sendDelta(db)).index).toEqual({
      [pairKey(k1, v2)]: `x@${host.now}`,
      [pairKey(k1, v3)]: `${v3}@${host.now}`,
      [pairKey(k2, v1)]: `${v1}@${host.now}`,
    });
    const removed = { [pairKey(k1, v1)]: { ts: 20, deleted: true } };
    await host.merge(db, { index: { flags, transform, entries: removed } });
    expect(host.dump().index).toEqual({ [k1]: v3, [k2]: v1 });
  });
});
