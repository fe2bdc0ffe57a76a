import type { Check } from '../../watchdog/health-check.ts';
import { formatBytes } from '../../log/output-format.ts';
import { databaseCard } from './view-database.ts';
import { usedBytes, type DatabaseStatus, type StatusSource } from '../../monitor/status.ts';
import { behind, behindOrWhy, duration, figure, plural, sightOf, table } from './format.ts';
import { el, elWith, type ViewNode } from './node.ts';

/** How all of it is; `starting` is well, but not all is here yet. */
export type Verdict = 'ok' | 'starting' | 'warning' | 'error';

/** What this agent's requests come to. */
export type CostView = {
  /** US dollars a month. */
  readonly month: number;
  /** The same if the bucket were listed at every poll interval instead. */
  readonly monthListing: number;
  readonly pollIntervalMs: number;
  /** Where and when the prices were published. */
  readonly prices: string;
};

export type StatusView = {
  readonly verdict: Verdict;
  /** For the window's title: the instance and the verdict in words. */
  readonly title: string;
  readonly nodes: readonly ViewNode[];
};

/** With more databases than this only those in trouble are unfolded. */
const UNFOLDED_MAX = 4;
const HOUR_MS = 3_600_000;

/**
 * The status page as nodes: the first answer shows them as HTML, later ones are put in their place by the page's script.
 *
 * First whether all is well and what is not, then the databases as upstream shows them, then each in full.
 * Source of upstream's part: PowerDNS/lightningstream, `status/httpd.go`.
 */
export function statusView(
  source: StatusSource,
  parts: {
    readonly checks: readonly Check[];
    readonly databases: readonly DatabaseStatus[];
    /** undefined: the storage costs nothing, or it is too early to say. */
    readonly cost: CostView | undefined;
  },
  nowMs: number,
): StatusView {
  const { checks, databases, cost } = parts;
  const verdict = verdictOf(checks, databases);
  const headline = headlineOf(verdict, checks);
  const isUnfolded = (name: string) =>
    databases.length <= UNFOLDED_MAX || checks.some((check) => check.name.startsWith(`${name}_`));
  return {
    verdict,
    title: `${headline} – ${source.instance}`,
    nodes: [
      top(source, nowMs),
      verdictSection({ verdict, headline, source, ...parts }, nowMs),
      databasesSection(databases, checks),
      ...databases.map((database) =>
        databaseCard(database, {
          nowMs,
          unfolded: isUnfolded(database.name),
          sight: sightOf(database, checks),
        }),
      ),
      storageSection(source, cost, nowMs),
      el('footer', '', `As of ${new Date(nowMs).toISOString().replace('T', ' ').slice(0, 19)} UTC`),
    ],
  };
}

function verdictOf(checks: readonly Check[], databases: readonly DatabaseStatus[]): Verdict {
  if (checks.some(({ level }) => level === 'error')) {
    return 'error';
  }
  if (checks.length > 0) {
    return 'warning';
  }
  return databases.every(({ started }) => started) ? 'ok' : 'starting';
}

function headlineOf(verdict: Verdict, checks: readonly Check[]): string {
  if (verdict === 'ok') {
    return 'All is well';
  }
  if (verdict === 'starting') {
    return 'Starting';
  }
  const failures = checks.filter(({ level }) => level === 'error').length;
  const warnings = checks.length - failures;
  return [
    ...(failures > 0 ? [plural(failures, 'failure')] : []),
    ...(warnings > 0 ? [plural(warnings, 'warning')] : []),
  ].join(', ');
}

function top(source: StatusSource, nowMs: number): ViewNode {
  const up = duration(Math.max(0, nowMs - source.startedMs));
  const link = (path: string) => elWith('a', { href: path }, path);
  return el(
    'header',
    '',
    el(
      'div',
      '',
      el('h1', '', el('bdi', '', source.instance)),
      el('p', 'quiet', `LightningStream ${source.version}, up ${up}`),
    ),
    el('nav', '', ...['healthz', 'metrics', 'storage', 'status.json'].map(link)),
  );
}

function verdictSection(
  parts: {
    readonly verdict: Verdict;
    readonly headline: string;
    readonly source: StatusSource;
    readonly checks: readonly Check[];
    readonly databases: readonly DatabaseStatus[];
  },
  nowMs: number,
): ViewNode {
  const { verdict, headline, source, checks, databases } = parts;
  return el(
    'section',
    `verdict ${verdict}`,
    el('h2', '', headline),
    el('p', '', stepText(databases, checks)),
    el('p', '', noticeText(source, nowMs)),
    ...problems(checks),
  );
}

function stepText(databases: readonly DatabaseStatus[], checks: readonly Check[]): string {
  const stopped = databases.filter((database) => sightOf(database, checks) === 'stopped').length;
  if (stopped > 0) {
    return `${plural(stopped, 'database')} of ${databases.length} cannot send or receive.`;
  }
  const starting = databases.filter(({ started }) => !started).length;
  if (starting > 0) {
    return `${plural(starting, 'database')} of ${databases.length} still in the initial sync.`;
  }
  const others = new Set(
    databases.flatMap(({ instances }) => instances.map(({ instance }) => instance)),
  );
  const lagMs = Math.max(0, ...databases.map(behind));
  const step = lagMs > 0 ? `up to ${duration(lagMs)} behind` : 'in step with';
  const what = others.size === 0 ? 'no other instance yet' : plural(others.size, 'other instance');
  return `${plural(databases.length, 'database')} ${step} ${what}.`;
}

function noticeText(source: StatusSource, nowMs: number): string {
  const { source: kind, trouble } = source.notices();
  const how = {
    queue: 'New objects are announced by the queue',
    watch: 'New objects are seen by watching the folder',
    poll: 'New objects are found by listing the storage',
    marker: 'New objects are found by looking at the update marker',
  }[kind];
  if (trouble === undefined) {
    return `${how}.`;
  }
  return `${how}: not for ${duration(nowMs - trouble.sinceMs)} (${trouble.error}); the storage is listed instead.`;
}

/** Failures first; their order else is that of the databases. */
function problems(checks: readonly Check[]): ViewNode[] {
  if (checks.length === 0) {
    return [];
  }
  const sorted = [
    ...checks.filter(({ level }) => level === 'error'),
    ...checks.filter(({ level }) => level !== 'error'),
  ];
  return [
    el('ul', 'problems', ...sorted.map(problem)),
    el('p', 'quiet', 'What to do: docs/runbook.md has a section for each of these names.'),
  ];
}

/** The name of a check is that of its section in docs/runbook.md. */
function problem({ name, level, message }: Check): ViewNode {
  return el('li', level, el('strong', '', level), ' ', message, ' ', el('code', '', name));
}

/** Upstream's table. */
function databasesSection(
  databases: readonly DatabaseStatus[],
  checks: readonly Check[],
): ViewNode {
  const heads = [
    'Name',
    'Behind',
    'Map size',
    'Used',
    'Last transaction',
    'Readers',
    'Max readers',
    'Error',
  ];
  const rows = databases.map((database) => {
    const { environment } = database;
    return [
      el('td', '', el('bdi', '', database.name)),
      behindOrWhy(database, sightOf(database, checks)),
      environment ? figure(formatBytes(environment.mapSizeBytes)) : '-',
      environment ? figure(formatBytes(usedBytes(environment))) : '-',
      environment?.lastTxnId ?? '-',
      environment?.readers ?? '-',
      environment?.maxReaders ?? '-',
      database.error === undefined ? '' : el('td', 'bad wrap', database.error),
    ];
  });
  return el('section', 'card', el('h2', '', 'Databases'), table(heads, rows));
}

function storageSection(source: StatusSource, cost: CostView | undefined, nowMs: number): ViewNode {
  const requests = source.requests();
  const failed = source.failedRequests();
  const upMs = Math.max(1, nowMs - source.startedMs);
  const rows = [...requests].map(([kind, count]) => {
    const failures = failed.get(kind) ?? 0;
    return [
      kind,
      count,
      // Extrapolated from less than an hour it would only frighten.
      upMs < HOUR_MS ? '-' : Math.round((count * HOUR_MS) / upMs),
      failures > 0 ? el('td', 'number bad', String(failures)) : 0,
    ];
  });
  return el(
    'section',
    'card',
    el('h2', '', 'Storage requests since the start'),
    rows.length === 0
      ? el('p', 'quiet', 'None yet.')
      : table(['Kind', 'Requests', 'An hour', 'Failed'], rows),
    ...costText(cost),
  );
}

function costText(cost: CostView | undefined): ViewNode[] {
  if (cost === undefined) {
    return [];
  }
  const { month, monthListing } = cost;
  const every = duration(cost.pollIntervalMs);
  return [
    el(
      'p',
      '',
      el('strong', '', `About $${month.toFixed(2)} a month`),
      ` for these requests at list prices (${cost.prices}); listing every ${every} instead: $${monthListing.toFixed(2)}.`,
    ),
  ];
}
