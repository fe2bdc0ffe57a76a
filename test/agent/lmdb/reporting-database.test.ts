import type { Detection, LocalDatabase } from '../../../agent/lmdb/local-database.ts';
import { ReportingDatabase } from '../../../agent/lmdb/reporting-database.ts';
import { LmdbHost } from '../../support/lmdb-host.ts';
import { localDatabase, objectSpool } from '../../support/lmdb.ts';

let host: LmdbHost;
let told: Detection[];
let failures: unknown[];
const listener = {
  onDetection: (detection: Detection) => void told.push(detection),
  onFailure: (error: unknown) => void failures.push(error),
};

beforeEach(() => {
  host = new LmdbHost();
  told = [];
  failures = [];
});

afterEach(() => host.close());

async function reporting(): Promise<LocalDatabase> {
  return new ReportingDatabase(await host.start(), listener);
}

const LOOKS: readonly [name: string, look: (db: LocalDatabase) => Promise<unknown>][] = [
  ['detect', (db) => db.detect()],
  ['encodeDelta', (db) => db.encodeDelta(host.next())],
  ['encodeSnapshot', (db) => db.encodeSnapshot(host.next())],
  [
    'merge',
    (db) =>
      db.merge({
        name: 'object',
        spool: objectSpool({ zones: { entries: { b: { value: 'theirs', ts: 5 } } } }),
        vector: new Map(),
      }),
  ],
  ['persist', (db) => db.persist({ vector: new Map() })],
  ['sweep', (db) => db.sweep({ from: undefined, cutoffNs: 1n, rejoinBeforeNs: 1n, lockMs: 50 })],
  [
    'finishRejoin',
    async (db) => {
      await db.beginRejoin();
      await db.finishRejoin({ othersWrote: false, staleBeforeNs: 0n, nowNs: 100n });
    },
  ],
];

test.each(LOOKS)('%s tells what its look found before it resolves', async (_, look) => {
  const db = await reporting();
  host.application.put('zones', 'a', { value: 'ours', ts: 10 });
  const toldInTime = await look(db).then(() => told.map(({ newChanges }) => newChanges));
  expect(toldInTime).toEqual([1]);
});

test('opening tells what the first look found', async () => {
  host.application.put('zones', 'a', { value: 'ours', ts: 10 });
  const inner = localDatabase(host.file);
  const db = new ReportingDatabase(inner, listener);
  const { txnId } = await db.open();
  await db.close();
  expect(told).toMatchObject([{ txnId, hasData: true }]);
});

test('a call that fails tells of the failure and of no look', async () => {
  const db = await reporting();
  const damaged = { kind: 'memory', bytes: Buffer.from('damaged') } as const;
  await expect(
    db.merge({ name: 'object', spool: damaged, vector: new Map() }),
  ).rejects.toMatchObject({
    code: 'SNAPSHOT_CORRUPT',
  });
  expect(told).toEqual([]);
  expect(failures).toMatchObject([{ code: 'SNAPSHOT_CORRUPT' }]);
});
