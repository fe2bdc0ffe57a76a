import { ChangeDetector } from '../agent/lmdb/change-detector.ts';
import { PageCursor } from '../agent/lmdb/pages/cursor.ts';
import { collectPages, diffPages } from '../agent/lmdb/pages/diff.ts';
import { DataFile, listDbis } from '../agent/lmdb/pages/data-file.ts';
import type { DbRecord } from '../agent/lmdb/pages/data-file.ts';
import { openTestLmdb } from '../test/support/lmdb-writer/env.ts';
import type { TestLmdb } from '../test/support/lmdb-writer/env.ts';
import type { BenchOptions, Row } from './support/row.ts';
import { median } from './support/statistics.ts';

const SMALL = 10_000;
const VALUE_BYTES = 44;
const WALKS = 5;
const IDLE_DETECTORS = 64;
const IDLE_MS = 4000;

/**
 * The page reader on an LMDB of records of 44 bytes: building the page set, walking every entry, seeking every key in
 * order, and finding 1 and 1,000 changes; and what 64 change detectors cost while nothing happens.
 */
export async function run(options: BenchOptions): Promise<Row[]> {
  // First, for after the rest the garbage collector goes on for seconds by itself.
  const rows: Row[] = [await idleDetectors()];
  for (const records of new Set([SMALL, options.records])) {
    const lmdb = openTestLmdb({ mapSize: 16 * 1024 ** 3 });
    try {
      rows.push(...measure(lmdb, records));
    } finally {
      await lmdb.close();
    }
  }
  return rows;
}

function measure(lmdb: TestLmdb, records: number): Row[] {
  const keys = fill(lmdb, records);
  const of = `${records.toLocaleString('en')} records`;
  const pin = lmdb.pin();
  using file = DataFile.open(lmdb.path);
  const meta = file.readMeta();
  const db = listDbis(file, meta).get('records')!;
  // Targets are for a million records; ten thousand are over before the code is warm.
  const isLarge = records >= 1_000_000;
  const rows: Row[] = [
    {
      name: `page set, ${of}`,
      value: timed(() => collectPages(file, meta)),
      unit: 'ms',
      target: isLarge ? 120 : undefined,
    },
    {
      name: `walk, ${of}`,
      value: timed(() => walk(file, db)),
      unit: 'ms',
      target: isLarge ? 200 : undefined,
    },
    {
      name: `seek of every key in order, ${of}`,
      value: timed(() => seekAll(file, db)),
      unit: 'ms',
    },
  ];
  pin.done();
  for (const changes of [1, 1000]) {
    const diff = measureDiff(lmdb, file, keys, changes);
    const name = `page diff, ${changes.toLocaleString('en')} of ${of}`;
    rows.push({ name, value: diff.ms, unit: 'ms', target: changes === 1 ? 1 : undefined });
    rows.push({ name: `${name}, reads`, value: diff.reads, unit: 'pages' });
  }
  return rows;
}

function fill(lmdb: TestLmdb, records: number): Buffer[] {
  const db = openRecords(lmdb);
  const keys: Buffer[] = [];
  lmdb.env.transactionSync(() => {
    for (let i = 0; i < records; i += 1) {
      const key = Buffer.from(`host-${((i * 2_654_435_761) % 2 ** 32).toString(36)}.example.org`);
      db.putSync(key, Buffer.alloc(VALUE_BYTES, i));
      if (i % Math.ceil(records / 5000) === 0) {
        keys.push(key);
      }
    }
  });
  return keys;
}

function openRecords({ env }: TestLmdb) {
  return env.openDB<Buffer, Buffer>({
    name: 'records',
    keyEncoding: 'binary',
    encoding: 'binary',
    cache: false,
  });
}

function walk(file: DataFile, db: DbRecord): number {
  const cursor = new PageCursor(file, db);
  let sum = 0;
  while (cursor.next()) {
    sum += cursor.keyBuffer[cursor.keyStart]! + cursor.valueBuffer[cursor.valueStart]!;
  }
  return sum;
}

/** As a merge does: one cursor gives sorted keys, another one looks each of them up. */
function seekAll(file: DataFile, db: DbRecord): void {
  const keys = new PageCursor(file, db);
  const cursor = new PageCursor(file, db);
  while (keys.next()) {
    cursor.seek(keys.keyBuffer, keys.keyStart, keys.keyEnd);
  }
}

function measureDiff(
  lmdb: TestLmdb,
  file: DataFile,
  keys: readonly Buffer[],
  changes: number,
): { ms: number; reads: number } {
  const db = openRecords(lmdb);
  let pin = lmdb.pin();
  let meta = file.readMeta();
  const pages = collectPages(file, meta);
  const times: number[] = [];
  let reads = 0;
  for (let round = 0; round < 20; round += 1) {
    lmdb.env.transactionSync(() => {
      for (let i = 0; i < changes; i += 1) {
        const key = keys[(round * 37 + i * (changes === 1 ? 1 : 5)) % keys.length]!;
        db.putSync(key, Buffer.alloc(VALUE_BYTES, `${changes}-${round}-`));
      }
    });
    const nextPin = lmdb.pin();
    const startedMs = performance.now();
    const next = file.readMeta();
    let found = 0;
    const result = diffPages(file, meta, next, pages, {
      onDbi: () => {},
      onChange: () => {
        found += 1;
      },
    });
    times.push(performance.now() - startedMs);
    if (found !== changes) {
      throw new Error(`${found} changes found of ${changes}`);
    }
    reads = result.pagesRead;
    pin.done();
    pin = nextPin;
    meta = next;
  }
  pin.done();
  return { ms: median(times), reads };
}

async function idleDetectors(): Promise<Row> {
  const lmdbs = Array.from({ length: IDLE_DETECTORS }, () => openTestLmdb());
  const detectors = lmdbs.map(
    ({ path }) => new ChangeDetector({ path, pollIntervalMs: 1000, onChange: () => {} }),
  );
  for (const detector of detectors) {
    detector.start();
  }
  const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
  await wait(1500);
  const before = process.cpuUsage();
  await wait(IDLE_MS);
  const { user, system } = process.cpuUsage(before);
  for (const detector of detectors) {
    detector.close();
  }
  await Promise.all(lmdbs.map((lmdb) => lmdb.close()));
  const percent = ((user + system) / 1000 / IDLE_MS) * 100;
  return {
    name: `${IDLE_DETECTORS} idle change detectors, of a core`,
    value: percent,
    unit: '%',
    target: 0.3,
  };
}

function timed(work: () => void): number {
  const times = Array.from({ length: WALKS }, () => {
    const startedMs = performance.now();
    work();
    return performance.now() - startedMs;
  });
  return median(times);
}
