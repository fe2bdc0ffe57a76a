import { runScale, type ScaleLoad, type ScaleReport } from './run.ts';

const HOUR: ScaleLoad = {
  what: 'hour',
  agents: 10,
  entries: 200,
  hours: 1,
  changesPerHour: 120,
  dayWave: 0,
  restarts: 0,
};
const READERS = HOUR.agents - 1;

/** Ten agents for an hour in virtual time. `npm run simulate -- --fleet` has more. */
let report: ScaleReport;

beforeAll(async () => {
  report = await runScale(HOUR);
});

function count(kind: string): number {
  return report.requests[kind] ?? Number.NaN;
}

test('one change is one object, one notice and one download for each other host', () => {
  const { commits, objects } = report;
  expect(commits).toBeGreaterThan(80);
  // Changes of a host that come close together go into one object.
  expect(objects).toBeLessThanOrEqual(commits);
  expect(count('s3Put')).toBe(objects);
  expect(count('snsPublishes')).toBeLessThanOrEqual(objects);
  expect(count('topicDeliveries')).toBe(objects * READERS);
  expect(report.lagMs.samples).toBe(commits * READERS);
  const looks = (HOUR.agents * 3_600_000) / report.safetyListMs;
  expect(count('s3Get')).toBeGreaterThanOrEqual(objects * READERS);
  expect(count('s3Get')).toBeLessThanOrEqual(objects * READERS + looks);
});

test('beside the notices every agent lists once per safety interval', () => {
  const looks = (HOUR.agents * 3_600_000) / report.safetyListMs;
  expect(Math.abs(count('s3List') - looks)).toBeLessThanOrEqual(HOUR.agents);
});

test('agents wait for notices with one request in twenty seconds, and one per notice', () => {
  const idle = (HOUR.agents * 3600) / 20;
  expect(count('sqsReceive')).toBeGreaterThanOrEqual(idle);
  expect(count('sqsReceive')).toBeLessThanOrEqual(idle + count('topicDeliveries'));
});

test('agent/status/cost.ts reckons with what is asked for, within a twentieth', () => {
  const sums = {
    s3PutsAll: count('s3Put') + count('compactorPut'),
    s3GetsAll: count('s3Get') + count('compactorGet'),
    s3ListsAll: count('s3List') + count('compactorList'),
    snsAll: count('snsPublishes'),
    sqsAll: Object.entries(report.requests)
      .filter(([kind]) => kind.startsWith('sqs'))
      .reduce((sum, [, requests]) => sum + requests, 0),
  };
  for (const [kind, sum] of Object.entries(sums)) {
    expect([kind, sum / (report.reckoned[kind] ?? 0)]).toEqual([kind, expect.closeTo(1, 1)]);
  }
});

test('a fleet in which nothing changes moves no snapshots for a day, over restarts, too', async () => {
  const idle = await runScale({
    what: 'idle day',
    agents: 5,
    entries: 200,
    hours: 24,
    changesPerHour: 0,
    dayWave: 0,
    restarts: 1,
  });
  expect(idle).toMatchObject({ objects: 0, uploadedBytes: 0, downloadedBytes: 0 });
  expect(idle.requests.s3Put).toBe(0);
  // One look at the manifest per listing, and one per start.
  const looks = (5 * 86_400_000) / idle.safetyListMs;
  expect(idle.requests.s3Get).toBeLessThanOrEqual(looks + 5 * idle.load.restarts);
});
