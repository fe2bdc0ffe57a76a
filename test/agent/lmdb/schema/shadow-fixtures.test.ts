import fs from 'node:fs';
import path from 'node:path';
import type { DatabaseOptions, LocalDatabase } from '../../../../agent/lmdb/local-database.ts';
import { fixtureBytes, fixtureJson, FIXTURES, type JsonDbi } from '../../../support/fixtures.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { lastTxn, nativeValue, readEncodedSink, scratchFolder } from '../../../support/lmdb.ts';
import {
  dumpLmdb,
  PlainApplication,
  shadowDatabase,
  type DumpedDbi,
  type DumpEntry,
} from '../../../support/shadow.ts';

type Op = { dbi: string; key: string; op: 'put' | 'del'; value: string | null };
type Step = { step: string; lmdb: DumpedDbi[]; dbis: JsonDbi[]; meta: { timestampNano: string } };
type Expected = {
  steps: Step[];
  second_instance: {
    B_after_loading_A: DumpedDbi[];
    B_snapshot: { snapshot: string };
    A_after_loading_B: DumpedDbi[];
  };
};

const CASES = [
  { fixture: 'c-shadow-integerkey', dupsortHack: false },
  { fixture: 'd-shadow-dupsort', dupsortHack: true },
];

const folder = scratchFolder();
const clock = new FakeClock();
const opened: { close(): Promise<void> }[] = [];
let files = 0;

afterEach(async () => {
  for (const closable of opened.toReversed()) {
    await closable.close();
  }
  opened.length = 0;
});

afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

function freshFile(source?: string): string {
  files += 1;
  const file = path.join(folder, `${files}.mdb`);
  if (source !== undefined) {
    fs.copyFileSync(path.join(FIXTURES, source), file);
  }
  return file;
}

function application(file: string): PlainApplication {
  const app = new PlainApplication(file);
  opened.push(app);
  return app;
}

async function start(file: string, options: Partial<DatabaseOptions> = {}): Promise<LocalDatabase> {
  const db = shadowDatabase(file, { clock, ...options });
  opened.push(db);
  await db.open();
  return db;
}

async function merge(db: LocalDatabase, ...snapshot: string[]): Promise<void> {
  const spool = { kind: 'memory', bytes: fixtureBytes(...snapshot) } as const;
  await db.merge({ name: snapshot.at(-1) ?? '', spool, vector: new Map() });
}

/** Our clock's time for that of the step in which upstream recorded it. */
function atOurTimes(dbis: DumpedDbi[], times: ReadonlyMap<string, string>): DumpedDbi[] {
  return dbis.map(({ name, flags, entries }) => ({
    name,
    flags,
    entries: entries.map((entry) => withTime(entry, times)),
  }));
}

function withTime(entry: DumpEntry, times: ReadonlyMap<string, string>): DumpEntry {
  const { timestampNano } = entry;
  if (timestampNano === undefined) {
    return entry;
  }
  return { ...entry, timestampNano: times.get(timestampNano) ?? timestampNano };
}

function plain(dbis: DumpedDbi[]): DumpedDbi[] {
  return atOurTimes(dbis, new Map());
}

/** Upstream takes an empty value of a live register for a deletion in the application's DBI; here it is a value. */
function withEmptyValues(dbis: DumpedDbi[]): DumpedDbi[] {
  return plain(dbis).map((dbi) => {
    const shadow = dbis.find(({ name }) => name === `_sync_shadow_${dbi.name}`);
    if (shadow === undefined) {
      return dbi;
    }
    const live = shadow.entries.filter(({ flags }) => flags === 0);
    return { ...dbi, entries: live.map(({ key, value }) => ({ key, value })) };
  });
}

function writeDump(app: PlainApplication, dbis: readonly DumpedDbi[]): void {
  for (const { name, flags } of dbis) {
    app.create(name, flags);
  }
  app.write((txn) => {
    for (const { name, entries } of dbis) {
      for (const { key, value, timestampNano, flags } of entries) {
        const bytes = Buffer.from(value, 'hex');
        const isRegister = timestampNano !== undefined;
        const whole = isRegister
          ? nativeValue({ ts: BigInt(timestampNano), value: bytes, deleted: flags === 1 }, 7)
          : bytes;
        txn.put(name, Buffer.from(key, 'hex'), whole);
      }
    }
  });
}

function apply(
  app: PlainApplication,
  ops: readonly Op[],
  flags: ReadonlyMap<string, number>,
): void {
  app.write((txn) => {
    for (const { dbi, key, op, value } of ops) {
      const keyBytes = Buffer.from(key, 'hex');
      const isPair = ((flags.get(dbi) ?? 0) & 4) !== 0;
      if (op === 'put') {
        txn.put(dbi, keyBytes, Buffer.from(value ?? '', 'hex'));
      } else if (isPair && value !== null) {
        txn.remove(dbi, keyBytes, Buffer.from(value, 'hex'));
      } else {
        txn.remove(dbi, keyBytes);
      }
    }
  });
}

describe.each(CASES)('upstream’s recording $fixture', ({ fixture, dupsortHack }) => {
  const input = fixtureJson(fixture, 'input.json') as {
    dbis: { name: string; flags: number }[];
    steps: { step: string; ops: Op[] }[];
  };
  const expected = fixtureJson(fixture, 'expected.json') as Expected;
  const flags = new Map(input.dbis.map((dbi) => [dbi.name, dbi.flags]));

  test('each step leaves the LMDB and the snapshot that upstream left', async () => {
    const file = freshFile(`${fixture}/data.mdb`);
    const app = application(file);
    const db = await start(file, { dupsortHack });
    const times = new Map<string, string>();
    for (const [index, step] of expected.steps.entries()) {
      if (index > 0) {
        clock.advanceMs(1000);
        times.set(step.meta.timestampNano, String(clock.nowNs()));
        apply(app, input.steps[index - 1]?.ops ?? [], flags);
        await db.detect();
      }
      expect(dumpLmdb(file)).toEqual(atOurTimes(step.lmdb, times));
      const { object } = await db.encodeSnapshot({ seq: BigInt(index + 1), timeNs: 1n });
      const sink = await readEncodedSink(object!.spool);
      const snapshot = step.dbis.map((dbi) => ({
        ...dbi,
        entries: dbi.entries.map((entry) => withTime(entry, times)),
      }));
      expect(sink.dbis.map((dbi) => ({ ...dbi, flagNames: undefined }))).toEqual(
        snapshot.map((dbi) => ({ ...dbi, flagNames: undefined })),
      );
      await db.acknowledge(object!.token);
    }
  });

  test('an empty instance gets what upstream’s second instance got, and back', async () => {
    const last = expected.steps.at(-1) as unknown as { snapshot: string };
    const { B_after_loading_A, A_after_loading_B, B_snapshot } = expected.second_instance;
    const fileB = freshFile();
    await merge(await start(fileB, { dupsortHack }), fixture, last.snapshot);
    expect(dumpLmdb(fileB)).toEqual(plain(B_after_loading_A));
    const fileA = freshFile();
    const a = await start(fileA, { dupsortHack });
    await merge(a, fixture, last.snapshot);
    await merge(a, fixture, B_snapshot.snapshot);
    expect(dumpLmdb(fileA)).toEqual(plain(A_after_loading_B));
    // What came from others is no change of ours.
    expect(await a.detect()).toMatchObject({ pendingKeys: 0, newChanges: 0 });
  });
});

describe('upstream’s recording d2-powerdns47-shadow', () => {
  type Recorded = {
    steps: { snapshots: Record<string, { snapshot: string }[]> }[];
    loadedIntoEmptyInstance: Record<string, DumpedDbi[]>;
  };
  const fixture = 'd2-powerdns47-shadow';
  const expected = fixtureJson(fixture, 'expected.json') as Recorded;

  test.each(['main', 'shard'])('an empty instance loads %s as upstream’s did', async (name) => {
    const file = freshFile();
    const db = await start(file, { dupsortHack: name === 'main' });
    const folderOf = fs.readdirSync(path.join(FIXTURES, fixture, 'snapshots'));
    const newest = folderOf.filter((snapshot) => snapshot.startsWith(`${name}__`)).at(-1);
    await merge(db, fixture, 'snapshots', newest ?? '');
    expect(dumpLmdb(file)).toEqual(plain(expected.loadedIntoEmptyInstance[name] ?? []));
  });
});

test.each(CASES)('what upstream left of $fixture is taken over as it is', async (testCase) => {
  const { fixture, dupsortHack } = testCase;
  const left = (fixtureJson(fixture, 'expected.json') as Expected).steps.at(-1)?.lmdb ?? [];
  const file = freshFile();
  writeDump(application(file), left);
  const txnBefore = lastTxn(file);
  const db = await start(file, { dupsortHack });
  expect(dumpLmdb(file)).toEqual(plain(left));
  expect(lastTxn(file)).toBe(txnBefore);
  // Nobody knows what of it is in the bucket: all of it is sent.
  const { object } = await db.encodeSnapshot({ seq: 1n, timeNs: 1n });
  expect((await readEncodedSink(object!.spool)).dbis).toHaveLength(3);
});

describe('upstream’s recording f-old-formats', () => {
  type Result = { mode: string; snapshot: string; exitCode: number; lmdb: DumpedDbi[] };
  const { results, odd } = fixtureJson('f-old-formats', 'expected.json') as {
    results: Result[];
    odd: Result[];
  };
  const shadow = results.filter(({ mode }) => mode.startsWith('shadow'));

  test.each(shadow.filter(({ exitCode }) => exitCode === 0))(
    '$snapshot as $mode leaves what it left',
    async ({ mode, snapshot, lmdb }) => {
      const file = freshFile();
      const createFlags = mode === 'shadow-override' ? { d1: 0 } : {};
      await merge(await start(file, { createFlags }), 'f-old-formats', snapshot);
      expect(dumpLmdb(file)).toEqual(withEmptyValues(lmdb));
    },
  );

  test.each(shadow.filter(({ exitCode }) => exitCode !== 0))(
    '$snapshot as $mode is refused',
    async ({ snapshot }) => {
      const db = await start(freshFile());
      await expect(merge(db, 'f-old-formats', snapshot)).rejects.toMatchObject({
        code: expect.stringMatching(/^SNAPSHOT_(REJECTED|INCOMPATIBLE)$/) as string,
      });
    },
  );

  test('duplicates without the transform are refused', async () => {
    const found = odd.find(({ snapshot }) => snapshot.includes('dupsort-without-transform-shadow'));
    const db = await start(freshFile(), { dupsortHack: true });
    await expect(merge(db, 'f-old-formats', found?.snapshot ?? '')).rejects.toMatchObject({
      code: 'SNAPSHOT_REJECTED',
    });
  });
});
