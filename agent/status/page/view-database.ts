import { formatDbiFlags } from '../../config/value-types.ts';
import { formatBytes } from '../../log/output-format.ts';
import {
  dbiUsedBytes,
  usedBytes,
  type ActivityStatus,
  type DatabaseStatus,
  type EnvironmentStatus,
  type InstanceStatus,
} from '../../monitor/status.ts';
import { age, behind, behindCell, duration, figure, plural, table, type Sight } from './format.ts';
import { el, elWith, type ViewNode } from './node.ts';

/** A page of more instances than this helps nobody; those that are behind come first. */
const INSTANCES_MAX = 200;
const DBIS_MAX = 500;
/** From here on the map is worth a look. */
const MAP_HIGH = 0.8;

/** Everything about one database; folded, only its name and how it is. */
export function databaseCard(
  database: DatabaseStatus,
  {
    nowMs,
    unfolded,
    sight,
  }: { readonly nowMs: number; readonly unfolded: boolean; readonly sight: Sight },
): ViewNode {
  const { instances, recent, environment } = database;
  return elWith(
    'details',
    unfolded ? { class: 'card', open: '' } : { class: 'card' },
    el('summary', '', el('h2', '', el('bdi', '', database.name)), ' ', chip(database, sight)),
    el('p', 'quiet wrap', database.path),
    tiles(database, nowMs),
    el('h3', '', 'Instances'),
    instances.length === 0
      ? el('p', 'quiet', 'No other instance has been seen.')
      : instanceTable(instances, nowMs),
    ...more(instances.length - INSTANCES_MAX, 'instance'),
    el('h3', '', 'Recent uploads and merges'),
    recent.length === 0 ? el('p', 'quiet', 'None since the start.') : recentTable(recent, nowMs),
    el('h3', '', 'DBIs'),
    environment === undefined ? el('p', 'quiet', 'Not looked at yet.') : dbiTable(environment),
    ...more((environment?.dbis.length ?? 0) - DBIS_MAX, 'DBI'),
  );
}

function chip(database: DatabaseStatus, sight: Sight): ViewNode {
  if (database.mapFull) {
    return el('span', 'chip error', 'map full');
  }
  if (database.error !== undefined) {
    return el('span', 'chip error', 'LMDB error');
  }
  if (sight === 'stopped') {
    return el('span', 'chip error', 'not in sync');
  }
  if (sight === 'starting') {
    return el('span', 'chip starting', 'initial sync');
  }
  const lagMs = behind(database);
  return lagMs > 0
    ? el('span', 'chip warning', `${duration(lagMs)} behind`)
    : el('span', 'chip ok', 'in step');
}

function tiles(database: DatabaseStatus, nowMs: number): ViewNode {
  const { lastUpload, lastMerge, environment, pendingKeys, pendingBytes } = database;
  const keys = plural(pendingKeys, 'key');
  const lots = database.pendingScan ? ', and more' : '';
  const oddities: [string, number][] = [
    ['Put back, clock behind', database.regressions.total],
    ['Entries in the future', database.futureEntries.total],
    ['Values without header', database.invalidValues],
    ['Objects left out', database.quarantined.length],
    ['DBIs out of order', database.refusedDbis.length],
  ];
  return el(
    'dl',
    'tiles',
    tile('Not yet sent', keys, `${formatBytes(pendingBytes)}${lots}`),
    tile(
      'Last upload',
      lastUpload ? age(lastUpload.atMs, nowMs) : 'none',
      lastUpload ? `${lastUpload.kind}, ${plural(lastUpload.entries, 'change')}` : '',
    ),
    tile(
      'Last merge',
      lastMerge ? age(lastMerge.atMs, nowMs) : 'none',
      lastMerge ? `lock held ${duration(lastMerge.lockHeldMs)}` : '',
    ),
    ...(environment === undefined ? [] : [mapTile(environment)]),
    ...oddities
      .filter(([, count]) => count > 0)
      .map(([name, count]) => tile(name, count.toLocaleString('en-US'), '', 'odd')),
  );
}

function mapTile(environment: EnvironmentStatus): ViewNode {
  const used = usedBytes(environment);
  const part = environment.mapSizeBytes > 0 ? used / environment.mapSizeBytes : 0;
  const percent = `${(part * 100).toFixed(1)} %`;
  return el(
    'div',
    part >= MAP_HIGH ? 'odd' : '',
    el('dt', '', 'Map used'),
    el('dd', 'figure', percent),
    el('dd', 'quiet', `${formatBytes(used)} of ${formatBytes(environment.mapSizeBytes)}`),
    el('dd', '', elWith('meter', { value: part.toFixed(3), high: String(MAP_HIGH) }, percent)),
  );
}

function tile(name: string, figure: string, note: string, className = ''): ViewNode {
  return el(
    'div',
    className,
    el('dt', '', name),
    el('dd', 'figure', figure),
    ...(note === '' ? [] : [el('dd', 'quiet', note)]),
  );
}

function instanceTable(instances: readonly InstanceStatus[], nowMs: number): ViewNode {
  const shown = instances
    .toSorted((a, b) => b.lagMs - a.lagMs || b.newestMs - a.newestMs)
    .slice(0, INSTANCES_MAX);
  return table(
    ['Instance', 'Behind', 'Newest object', 'Newest merged'],
    shown.map(({ instance, lagMs, newestMs, mergedMs }) => [
      el('td', 'name', el('bdi', '', instance)),
      behindCell(lagMs),
      age(newestMs, nowMs),
      mergedMs === undefined ? 'before the start' : age(mergedMs, nowMs),
    ]),
  );
}

function recentTable(recent: readonly ActivityStatus[], nowMs: number): ViewNode {
  return table(
    ['When', 'What', 'Instance', 'Entries', 'Changed here', 'Size', 'Took'],
    recent.map((activity) => [
      age(activity.atMs, nowMs),
      activity.direction === 'upload' ? `↑ ${activity.kind} sent` : `↓ ${activity.kind} merged`,
      el('td', 'name', el('bdi', '', activity.instance)),
      activity.entries,
      activity.direction === 'upload' ? '' : activity.changed,
      figure(formatBytes(activity.sizeBytes)),
      figure(duration(activity.totalMs)),
    ]),
  );
}

/** Upstream's table. */
function dbiTable({ dbis, pageSize }: EnvironmentStatus): ViewNode {
  return table(
    ['DBI', 'Used', 'Entries', 'Depth', 'Branch pages', 'Leaf pages', 'Overflow pages', 'Flags'],
    dbis
      .slice(0, DBIS_MAX)
      .map((dbi) => [
        el('td', 'name', el('bdi', '', dbi.name)),
        figure(formatBytes(dbiUsedBytes(dbi, pageSize))),
        dbi.entries,
        dbi.depth,
        dbi.branchPages,
        dbi.leafPages,
        dbi.overflowPages,
        formatDbiFlags(dbi.flags),
      ]),
  );
}

function more(count: number, noun: string): ViewNode[] {
  return count > 0 ? [el('p', 'quiet', `… and ${plural(count, noun)} more: see status.json.`)] : [];
}
