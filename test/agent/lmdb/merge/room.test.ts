import { spawnSync } from 'node:child_process';
import path from 'node:path';
import type { LocalDatabase } from '../../../../agent/lmdb/local-database.ts';
import { roomOf } from '../../../../agent/lmdb/merge/room.ts';
import { DataFile } from '../../../../agent/lmdb/pages/data-file.ts';
import type { Spool } from '../../../../agent/spool.ts';
import { errorText, SyncError } from '../../../../protocol/errors.ts';
import {
  Application,
  dumpEntries,
  lastTxn,
  localDatabase,
  objectSpool,
  scratchFolder,
  type ObjectContent,
} from '../../../support/lmdb.ts';
import { testBundle } from '../../../support/test-bundle.ts';

const MIB = 1024 ** 2;
const RESERVED_PART = 1 / 32;

type Entries = ObjectContent[string]['entries'];

let writer = '';
let file: string;
let app: Application;
let db: LocalDatabase;

beforeAll(async () => {
  writer = await testBundle('test/support/children/write-once.ts');
});

async function open(mapSizeBytes: number, content: Entries = {}): Promise<void> {
  file = path.join(scratchFolder(), 'main.lmdb');
  app = new Application(file, { mapSize: mapSizeBytes });
  fill(app, { begin: { value: 'x', ts: 1 }, ...content });
  db = localDatabase(file, { mapSizeBytes });
  await db.open();
}

afterEach(async () => {
  await db.close();
  await app.close();
});

function entries(
  count: number,
  options: { prefix?: string; valueBytes?: number; ts?: number } = {},
): Entries {
  const { prefix = 'key', valueBytes = 1000, ts = 10 } = options;
  return Object.fromEntries(
    Array.from({ length: count }, (_, at) => [
      `${prefix}-${String((at * 7919) % 100_003).padStart(6, '0')}`,
      { value: 'v'.repeat(valueBytes), ts },
    ]),
  );
}

function spoolOf(zones: Entries): Spool {
  return objectSpool({ zones: { entries: zones } });
}

/** What a merge is refused with; undefined: it is merged. */
async function refusal(spool: Spool): Promise<SyncError | undefined> {
  try {
    await db.merge({ name: 'an object', spool, vector: new Map() });
    return undefined;
  } catch (error) {
    if (error instanceof SyncError) {
      return error;
    }
    throw error;
  }
}

describe('an object that is larger than the map has room for', () => {
  test.each([
    ['held in memory', 2000],
    ['applied in slices', 20_000],
  ])('is refused before anything of it is written: %s', async (_, count) => {
    await open(2 * MIB);
    const before = lastTxn(file);
    const error = await refusal(spoolOf(entries(count)));
    expect(error).toMatchObject({ code: 'MAP_TOO_SMALL', retryable: true });
    expect(lastTxn(file)).toBe(before);
    // The application goes on.
    app.write((txn) => {
      for (const [key, entry] of Object.entries(entries(400))) {
        txn.put('own', key, entry);
      }
    });
  });

  test('is named with the size that it takes', async () => {
    await open(2 * MIB);
    const error = await refusal(spoolOf(entries(3000)));
    expect(errorText(error)).toContain(
      'cannot merge an object, which adds 3 MiB or more: the map of 2 MiB has 2 MiB left',
    );
    expect(errorText(error)).toMatch(/it takes more than 4 MiB$/);
    expect(error?.hint).toContain('lmdb-map-size');
  });

  test('is merged when the application has enlarged the map', async () => {
    await open(2 * MIB);
    const spool = spoolOf(entries(5000));
    expect(await refusal(spool)).toMatchObject({ code: 'MAP_TOO_SMALL' });
    // A process of its own: within one, all have the same map.
    await app.close();
    const { status } = spawnSync(process.execPath, [writer, file, String(64 * MIB)]);
    expect(status).toBe(0);
    expect(await refusal(spool)).toBeUndefined();
    app = new Application(file, { mapSize: 64 * MIB });
    expect(Object.keys(dumpEntries(file)['zones'] ?? {})).toHaveLength(5002);
  });
});

test('what takes no more room than it replaces is merged however full the map is', async () => {
  await open(4 * MIB);
  await db.close();
  const all = Object.entries(entries(4000));
  using data = DataFile.open(file);
  for (let at = 0; roomOf(data, data.readMeta()).freeBytes >= 0; at += 5) {
    fill(app, Object.fromEntries(all.slice(at, at + 5)));
  }
  db = localDatabase(file, { mapSizeBytes: 4 * MIB });
  await db.open();
  expect(await refusal(spoolOf(entries(10, { prefix: 'more' })))).toMatchObject({
    code: 'MAP_TOO_SMALL',
  });
  const newer = (count: number) =>
    spoolOf(
      Object.fromEntries(all.slice(0, count).map(([key, entry]) => [key, { ...entry, ts: 20 }])),
    );
  expect(await refusal(newer(2))).toBeUndefined();
  // Where LMDB itself has no page left, it says so, and the transaction leaves nothing.
  const before = lastTxn(file);
  expect(await refusal(newer(200))).toMatchObject({ code: 'MAP_FULL', retryable: true });
  expect(lastTxn(file)).toBe(before);
});

/** Ascending keys: before a last one LMDB leaves every leaf half full, which no estimate before the merge knows. */
const ascending = (count: number) =>
  Object.fromEntries(Object.entries(entries(count)).toSorted(([a], [b]) => (a < b ? -1 : 1)));

describe('an object that the estimate let through and that has no room all the same', () => {
  test.each([
    ['in few long transactions', 8, 6200, 50],
    ['in many short ones', 16, 12_000, 10],
  ])(
    'stops before what is kept for the application, %s, and is merged when there is room',
    async (_, mapMib, count, maxLockHoldMs) => {
      await open(mapMib * MIB, { zzz: { value: 'x', ts: 1 } });
      await db.close();
      db = localDatabase(file, { mapSizeBytes: mapMib * MIB, maxLockHoldMs });
      await db.open();
      const spool = spoolOf(ascending(count));
      expect(await refusal(spool)).toMatchObject({ code: 'MAP_TOO_SMALL', retryable: true });
      expect(Object.keys(dumpEntries(file)['zones'] ?? {}).length).toBeGreaterThan(2);
      // Of the reserve, a 32nd part of the map, hardly anything is used.
      using data = DataFile.open(file);
      const reservedBytes = mapMib * MIB * RESERVED_PART;
      expect(roomOf(data, data.readMeta()).freeBytes).toBeGreaterThan(-reservedBytes / 2);
      const before = lastTxn(file);
      expect(await refusal(spool)).toMatchObject({ code: 'MAP_TOO_SMALL' });
      expect(lastTxn(file)).toBe(before);
      for (let round = 0; round < 20; round += 1) {
        await db.detect();
        fill(app, entries(5, { prefix: `own ${round}`, valueBytes: 100 }));
      }
      await app.close();
      const { status } = spawnSync(process.execPath, [writer, file, String(64 * MIB)]);
      expect(status).toBe(0);
      expect(await refusal(spool)).toBeUndefined();
      app = new Application(file, { mapSize: 64 * MIB });
      const { zones = {} } = dumpEntries(file);
      expect(Object.keys(ascending(count)).filter((key) => !(key in zones))).toEqual([]);
    },
  );
});

test.each([100, 1000, 1900, 5000])(
  'nothing is refused that fits: values of %i bytes',
  async (valueBytes) => {
    // What is there already, in no order, leaves room within its leaves.
    const before = entries(Math.round((1.2 * MIB) / valueBytes), { valueBytes });
    let refused = 0;
    for (let part = 4; part <= 20; part += 8) {
      await open(4 * MIB, before);
      const more = entries(Math.round((part * 0.2 * MIB) / valueBytes), { valueBytes, ts: 20 });
      const error = await refusal(spoolOf(more));
      await db.close();
      await app.close();
      // LMDB itself may have had no room for what was let through: leaves are never quite full.
      if (error?.code !== 'MAP_TOO_SMALL') {
        continue;
      }
      refused += 1;
      const mapSize = 4 * MIB * (1 - RESERVED_PART);
      const other = new Application(path.join(scratchFolder(), 'main.lmdb'), { mapSize });
      expect(() => fill(other, { ...before, ...more })).toThrow('MDB_MAP_FULL');
      await other.close();
    }
    expect(refused).toBeGreaterThan(0);
    await open(MIB);
  },
);

function fill(target: Application, zones: Entries): void {
  target.write((txn) => {
    for (const [key, entry] of Object.entries(zones)) {
      txn.put('zones', key, entry);
    }
  });
}
