import fs from 'node:fs';
import path from 'node:path';
import type { DatabaseOptions } from '../../../../agent/lmdb/local-database.ts';
import { SyncError } from '../../../../protocol/errors.ts';
import { nativeValue, type NativeEntry } from '../../../support/lmdb.ts';
import { LmdbHost } from '../../../support/lmdb-host.ts';

const NATIVE = { schemaTracksChanges: true };
const SHADOW = { schemaTracksChanges: false, dupsortHack: true };
const SECOND_NS = 1_000_000_000n;
const TIME_NS = BigInt(Date.UTC(2024, 5, 1)) * 1_000_000n;

let host: LmdbHost;

beforeEach(() => {
  host = new LmdbHost();
});

afterEach(() => host.close());

/** What the start says; undefined: it goes well. */
async function refusal(options: Partial<DatabaseOptions>): Promise<SyncError | undefined> {
  try {
    const db = await host.start(options);
    await host.kill(db);
  } catch (error) {
    if (error instanceof SyncError) {
      return error;
    }
    throw error;
  }
  return undefined;
}

function fill(dbi: string, count: number, entry: (i: number) => NativeEntry): void {
  host.application.write((txn) => {
    for (let i = 0; i < count; i += 1) {
      txn.put(dbi, `key${i}`, entry(i));
    }
  });
}

const timed = (i: number): NativeEntry => ({ value: `v${i}`, ts: TIME_NS + BigInt(i) * SECOND_NS });
const plain = (i: number): NativeEntry => ({
  raw: Buffer.from(`just a text, number ${i} of many`),
  ts: 0,
});

test.each([NATIVE, SHADOW])('an empty LMDB fits either mode: %j', async (options) => {
  expect(await refusal(options)).toBeUndefined();
});

test('values with headers in shadow mode are refused, with the line to change', async () => {
  fill('zones', 20, timed);
  const error = await refusal(SHADOW);
  expect(error).toMatchObject({
    code: 'SCHEMA_MODE_WRONG',
    message: `${host.file} does not fit \`schema_tracks_changes: false\` of \`lmdbs.main\`: 20 of 20 values looked at begin with a header`,
    hint: 'Set `schema_tracks_changes: true` there, or `schema_check: false` if that is wrong.',
  });
  expect(await refusal(NATIVE)).toBeUndefined();
});

test('values without headers in native mode are refused, be there only one', async () => {
  fill('zones', 1, plain);
  expect(await refusal(NATIVE)).toMatchObject({
    code: 'SCHEMA_MODE_WRONG',
    message: expect.stringContaining('none of 1 values looked at begins with a header') as string,
    hint: expect.stringContaining('schema_tracks_changes: false') as string,
  });
  expect(await refusal(SHADOW)).toBeUndefined();
});

test.each([
  ['shadow', SHADOW, timed],
  ['native', NATIVE, plain],
] as const)('a refused start in %s mode has written nothing', async (_mode, options, entry) => {
  fill('zones', 100, entry);
  const before = fs.readFileSync(host.file);
  expect(await refusal(options)).toBeDefined();
  expect(fs.readFileSync(host.file).equals(before)).toBe(true);
  expect(fs.readdirSync(host.folder).toSorted()).toEqual(['test.mdb', 'test.mdb-lock']);
});

test('schema_check: false starts in either mode', async () => {
  fill('zones', 100, timed);
  expect(await refusal({ ...SHADOW, schemaCheck: false })).toBeUndefined();
  fill('zones', 100, plain);
  expect(await refusal({ ...NATIVE, schemaCheck: false })).toBeUndefined();
});

test.each([
  ['one value in fifty has no header', 50, 1],
  ['fewer than twenty values', 19, 0],
])('shadow mode starts where that proves nothing: %s', async (_what, count, without) => {
  fill('zones', count, (i) => (i < without ? plain(i) : timed(i)));
  expect(await refusal(SHADOW)).toBeUndefined();
});

test('shadow mode starts over values that are no headers of our time', async () => {
  // Zeros, times before anybody wrote such headers, and times to come.
  fill('zeros', 100, () => ({ raw: Buffer.alloc(40), ts: 0 }));
  fill('old', 100, () => ({ value: 'x', ts: 1_000_000n }));
  fill('later', 100, () => ({ value: 'x', ts: 2n ** 63n }));
  expect(await refusal(SHADOW)).toBeUndefined();
});

test('native mode starts over the headers of a migration, which are zeros, and over odd times', async () => {
  fill('migrated', 100, () => ({ value: 'x', ts: 0, txn: 0 }));
  expect(await refusal(NATIVE)).toBeUndefined();
  fill('old', 100, () => ({ value: 'x', ts: 5 }));
  fill('plain', 5, plain);
  expect(await refusal(NATIVE)).toBeUndefined();
});

test('every DBI has its share of the values looked at', async () => {
  // The first one alone would speak for a native schema.
  fill('a', 10_000, timed);
  fill('b', 10_000, plain);
  expect(await refusal(SHADOW)).toBeUndefined();
  expect(await refusal(NATIVE)).toBeUndefined();
});

test('private DBIs do not count: after a run in shadow mode it starts again', async () => {
  fill('zones', 100, plain);
  const db = await host.start(SHADOW);
  await host.sendAll(db);
  await host.kill(db);
  expect(await refusal(SHADOW)).toBeUndefined();
});

test('values in long rows of pages are not read', async () => {
  fill('zones', 30, (i) => (i < 10 ? { raw: Buffer.alloc(100_000, 7), ts: 0 } : timed(i)));
  expect((await refusal(SHADOW))?.message).toContain('20 of 20 values');
});

describe("PowerDNS's schema version decides at once", () => {
  const version = Buffer.from([0, 0, 0, 5]);
  const put = (raw: Buffer) => host.application.put('pdns', 'schemaversion', { raw, ts: 0 });

  test('with a header in shadow mode it is refused', async () => {
    put(nativeValue({ value: version.toString('latin1'), ts: 0, txn: 0 }, 0));
    expect(await refusal(SHADOW)).toMatchObject({
      code: 'SCHEMA_MODE_WRONG',
      message: expect.stringContaining(
        "PowerDNS's schemaversion in it is a value with a header",
      ) as string,
    });
    expect(await refusal(NATIVE)).toBeUndefined();
  });

  test('without a header in native mode it is refused, whatever else there is', async () => {
    put(version);
    fill('domains', 100, timed);
    expect(await refusal(NATIVE)).toMatchObject({
      message: expect.stringContaining('is a value without a header') as string,
    });
  });
});

test('the message names the configured path and database', async () => {
  fill('zones', 1, plain);
  const error = await refusal({ ...NATIVE, name: 'shard' });
  expect(error?.message).toContain('`lmdbs.shard`');
  expect(error?.message).toContain(path.basename(host.file));
});
