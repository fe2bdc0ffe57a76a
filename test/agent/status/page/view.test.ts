import type { Check } from '../../../../agent/watchdog/health-check.ts';
import { findCost } from '../../../../agent/status/cost-estimate.ts';
import { statusView } from '../../../../agent/status/page/view.ts';
import type { DatabaseStatus, StatusSource } from '../../../../agent/monitor/status.ts';
import { age, duration } from '../../../../agent/status/page/format.ts';
import { toHtml } from '../../../../agent/status/page/node.ts';
import { databaseStatus, NOW_MS, statusSource } from '../../../support/status.ts';

const QUARANTINE: Check = { name: 'main_quarantined_objects', level: 'warning', message: 'x' };
const STORE: Check = { name: 'main_storage_store_failed_duration', level: 'error', message: 'y' };

function view(
  options: {
    databases?: DatabaseStatus[];
    checks?: Check[];
    source?: Partial<StatusSource>;
  } = {},
) {
  const { databases = [databaseStatus()], checks = [] } = options;
  const source = { ...statusSource(...databases), ...options.source };
  const { nodes, verdict, title } = statusView(
    source,
    { databases, checks, cost: findCost(source, NOW_MS) },
    NOW_MS,
  );
  const html = toHtml(nodes);
  const text = html.replaceAll(/<[^>]*>/g, ' ').replaceAll(/\s+/g, ' ');
  return { verdict, title, html, text };
}

test.each([
  ['ok', 'All is well – a', {}],
  ['starting', 'Starting – a', { databases: [databaseStatus({ started: false })] }],
  ['warning', '1 warning – a', { checks: [QUARANTINE] }],
  ['error', '1 failure, 2 warnings – a', { checks: [QUARANTINE, QUARANTINE, STORE] }],
] as const)('the verdict is %s: %s', (verdict, title, options) => {
  expect(
    view({
      ...options,
      checks: [...('checks' in options ? options.checks : [])],
      databases: 'databases' in options ? [...options.databases] : [databaseStatus()],
    }),
  ).toMatchObject({ verdict, title });
});

test('failures come before warnings, each with the name of its section in the runbook', () => {
  const { text } = view({ checks: [QUARANTINE, STORE] });
  expect(text.indexOf(STORE.name)).toBeGreaterThan(0);
  expect(text.indexOf(STORE.name)).toBeLessThan(text.indexOf(QUARANTINE.name));
});

test('says how far behind it is, or that it is in step', () => {
  expect(view().text).toContain('1 database up to 4 s behind 1 other instance.');
  const inStep = databaseStatus({
    instances: [{ instance: 'b', newestMs: 0, mergedMs: 0, lagMs: 0 }],
  });
  expect(view({ databases: [inStep] }).text).toContain('1 database in step with 1 other instance.');
});

test.each([
  ['before its first pass', { started: false }, [], 'initial sync'],
  ['while it cannot look', {}, [STORE], 'unknown'],
] as const)('a database is never called in step %s', (_when, changes, checks, cell) => {
  const instances = [{ instance: 'b', newestMs: 0, mergedMs: 0, lagMs: 0 }];
  const { text } = view({
    databases: [databaseStatus({ instances, ...changes })],
    checks: [...checks],
  });
  expect(text.split('Instances')[0]).not.toContain('in step');
  expect(text).toContain(`main ${cell} `);
});

test('says that notices do not come, why, and what happens instead', () => {
  const notices = () =>
    ({ source: 'queue', trouble: { sinceMs: NOW_MS - 60_000, error: 'denied' } }) as const;
  expect(view({ source: { notices } }).text).toContain(
    'announced by the queue: not for 60 s (denied); the storage is listed instead.',
  );
});

test('shows what upstream shows of databases and DBIs', () => {
  const { text } = view();
  expect(text).toContain(
    'Name Behind Map size Used Last transaction Readers Max readers Error main 4 s 1024.0 KB 64.0 KB 42 2 126',
  );
  expect(text).toContain(
    'DBI Used Entries Depth Branch pages Leaf pages Overflow pages Flags records_v5 64.0 KB 1,000 2 1 10 5 Storage',
  );
});

test('shows requests by kind, how many failed, and what they cost', () => {
  const startedMs = NOW_MS - 7_200_000;
  const { text } = view({ source: { startedMs, billedPollIntervalMs: 1000 } });
  expect(text).toContain('Kind Requests An hour Failed list 4 2 1');
  expect(text).toMatch(/About \$0\.01 a month.*listing every 1 s instead: \$13\./);
});

test('a fleet of thousands makes no page of megabytes; who is behind is in it', () => {
  const instances = Array.from({ length: 10_000 }, (_, at) => ({
    instance: `host-${at}`,
    newestMs: NOW_MS,
    mergedMs: NOW_MS,
    lagMs: at === 9_999 ? 5000 : 0,
  }));
  const { html, text } = view({ databases: [databaseStatus({ instances })] });
  expect(html.length).toBeLessThan(60_000);
  expect(text).toContain('host-9999');
  expect(text).toContain('9,800 instances more');
});

test('with many databases only those in trouble are unfolded', () => {
  const databases = Array.from({ length: 9 }, (_, at) => databaseStatus({ name: `db${at}` }));
  const checks: Check[] = [{ name: 'db3_map_full', level: 'warning', message: 'x' }];
  expect(view({ databases }).html).not.toContain(' open=');
  expect(view({ databases, checks }).html.match(/ open=/g)).toHaveLength(1);
});

test.each([
  [0.44, '0.4 ms'],
  [12.3, '12 ms'],
  [2000, '2 s'],
  [2340, '2.3 s'],
  [45_000, '45 s'],
  [400_000, '7 min'],
  [9_000_000, '3 h'],
  [900_000_000, '10 days'],
])('%d ms are %s', (ms, text) => {
  expect(duration(ms)).toBe(text);
});

test.each([
  [300, 'just now'],
  [4400, '4 s ago'],
  [-90_000, '90 s in the future'],
])('%d ms ago is %s', (ms, text) => {
  expect(age(NOW_MS - ms, NOW_MS)).toBe(text);
});
