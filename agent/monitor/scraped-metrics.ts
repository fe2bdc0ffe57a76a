import { Gauge, type Registry } from 'prom-client';
import type { Check } from '../watchdog/health-check.ts';
import { DATABASE_CHECKS } from './conditions.ts';
import type { SmapsReader } from './smaps.ts';
import {
  dbiUsedBytes,
  usedBytes,
  type DatabaseStatus,
  type DbiStatus,
  type NoticeStatus,
} from './status.ts';

/** All databases as of the scrape under way. */
type DatabasesNow = () => readonly DatabaseStatus[];

/** A gauge per database: its value is computed at every scrape. */
type DatabaseGauge = readonly [
  name: string,
  help: string,
  value: (status: DatabaseStatus) => number | undefined,
];

const DATABASE_GAUGES: readonly DatabaseGauge[] = [
  ['lmdb_mapsize_bytes', 'Map size', (status) => status.environment?.mapSizeBytes],
  ['lmdb_filesize_bytes', 'Size of the data file', (status) => status.environment?.fileSizeBytes],
  ['lmdb_env_readers_current', 'Readers', (status) => status.environment?.readers],
  ['lmdb_env_readers_max', 'Most readers', (status) => status.environment?.maxReaders],
  ['lmdb_env_last_tnx_id', 'Last transaction id', (status) => status.environment?.lastTxnId],
  [
    'lmdb_total_usage_bytes',
    'Bytes used by all DBIs',
    (status) => status.environment && usedBytes(status.environment),
  ],
  [
    'lmdb_total_usage_fraction',
    'Used part of the map',
    ({ environment }) =>
      environment &&
      (environment.mapSizeBytes > 0 ? usedBytes(environment) / environment.mapSizeBytes : 0),
  ],
  [
    'lightningstream_pending_keys',
    'Local changes not yet sent, keys',
    (status) => status.pendingKeys,
  ],
  [
    'lightningstream_pending_bytes',
    'Local changes not yet sent, bytes',
    (status) => status.pendingBytes,
  ],
  [
    'lightningstream_pending_scan',
    '1 while more is pending than is remembered by key',
    (status) => Number(status.pendingScan),
  ],
  [
    'lightningstream_version_vector_size',
    'Streams in the version vector',
    (status) => status.vectorSize,
  ],
  [
    'lightningstream_quarantined_objects',
    'Objects left out: damaged ones, and those of another schema mode',
    (status) => status.quarantined.length,
  ],
  [
    'lightningstream_refused_objects',
    'Objects left out for want of room in the LMDB map',
    (status) => status.refused.length,
  ],
  [
    'lightningstream_held_schema_version',
    'Schema version of PowerDNS that is held back; 0: none',
    (status) => status.heldSchema?.version ?? 0,
  ],
  [
    'lightningstream_invalid_values',
    'Local values without a valid header',
    (status) => status.invalidValues,
  ],
  [
    'lightningstream_refused_dbis',
    'DBIs out of order, of which nothing is synced',
    (status) => status.refusedDbis.length,
  ],
  [
    'lightningstream_unnamed_data',
    '1 while the main database holds entries of the application',
    (status) => Number(status.unnamedData !== undefined),
  ],
  [
    'lightningstream_entries_left_out',
    'Local entries that are too large to be sent',
    (status) => status.leftOut?.entries ?? 0,
  ],
  [
    'lightningstream_received_entries_left_out',
    'Entries of others that are too large for this LMDB',
    (status) => status.receivedLeftOut?.entries ?? 0,
  ],
  ['lightningstream_map_full', '1 while the LMDB map is full', (status) => Number(status.mapFull)],
  ['lightningstream_started', '1 after the start is finished', (status) => Number(status.started)],
  [
    'lightningstream_rejoin_pending',
    '1 while a rejoin after a long absence is due and not finished',
    (status) => Number(status.rejoin !== undefined),
  ],
  [
    'lightningstream_shared_name_streams',
    'Streams of other living agents with the name of this instance',
    (status) => status.sharedName.length,
  ],
  [
    'lightningstream_oldest_unsent_change_seconds',
    'How long the oldest local change has been waiting that is in no stored object',
    ({ unsentMs }) => unsentMs / 1000,
  ],
  [
    'lightningstream_last_complete_pass_unix_seconds',
    'Time of the last listing pass after which all of the bucket was in the LMDB',
    ({ lastPassMs }) => lastPassMs && lastPassMs / 1000,
  ],
  [
    'lightningstream_last_merge_unix_seconds',
    'Time of the last merge',
    ({ lastMerge }) => lastMerge && lastMerge.atMs / 1000,
  ],
  [
    'lightningstream_last_merge_lock_seconds',
    'Longest time the last merge held the write lock',
    ({ lastMerge }) => lastMerge && lastMerge.lockHeldMs / 1000,
  ],
  [
    'lightningstream_last_upload_unix_seconds',
    'Time of the last stored object',
    ({ lastUpload }) => lastUpload && lastUpload.atMs / 1000,
  ],
];

type DbiGauge = readonly [
  name: string,
  help: string,
  value: (dbi: DbiStatus, pageSize: number) => number,
];

const DBI_GAUGES: readonly DbiGauge[] = [
  ['lmdb_db_usage_bytes', 'Bytes used by the DBI', dbiUsedBytes],
  ['lmdb_stat_entries', 'Entries', (dbi) => dbi.entries],
  ['lmdb_stat_depth', 'Depth of the tree', (dbi) => dbi.depth],
];

export type ScrapeSources = {
  readonly version: string;
  /** All that is not fine on `/healthz` now. */
  readonly checks: (databases: readonly DatabaseStatus[]) => readonly Check[];
  readonly databases: DatabasesNow;
  readonly notices: () => NoticeStatus;
  /** undefined: memory maps are left out. */
  readonly smaps: SmapsReader | undefined;
};

/**
 * Registers what is read at scrape time. Databases, DBIs and instances that are gone disappear from the answer,
 * since every gauge is emptied first.
 */
export function createScrapedMetrics(registry: Registry, sources: ScrapeSources): void {
  const { databases: source, smaps } = sources;
  for (const [name, help, value] of DATABASE_GAUGES) {
    registry.registerMetric(
      new Gauge({
        name,
        help,
        labelNames: ['lmdb'],
        registers: [],
        collect() {
          this.reset();
          for (const status of source()) {
            const now = value(status);
            if (now !== undefined) {
              this.set({ lmdb: status.name }, now);
            }
          }
        },
      }),
    );
  }
  for (const [name, help, value] of DBI_GAUGES) {
    registry.registerMetric(
      new Gauge({
        name,
        help,
        labelNames: ['lmdb', 'db'],
        registers: [],
        collect() {
          this.reset();
          for (const { lmdb, dbi, pageSize } of allDbis(source)) {
            this.set({ lmdb, db: dbi.name }, value(dbi, pageSize));
          }
        },
      }),
    );
  }
  createPagesMetric(registry, source);
  createLagMetric(registry, source);
  createNoticesMetric(registry, sources.notices);
  createBuildMetric(registry, sources.version);
  createChecksMetric(registry, sources);
  if (smaps !== undefined) {
    createSmapsMetric(registry, source, smaps);
  }
}

function* allDbis(source: DatabasesNow) {
  for (const { name, environment } of source()) {
    for (const dbi of environment?.dbis ?? []) {
      yield { lmdb: name, dbi, pageSize: environment?.pageSize ?? 0 };
    }
  }
}

function createPagesMetric(registry: Registry, source: DatabasesNow): void {
  registry.registerMetric(
    new Gauge({
      name: 'lmdb_stat_pages',
      help: 'Pages by type',
      labelNames: ['lmdb', 'db', 'pagetype'],
      registers: [],
      collect() {
        this.reset();
        for (const { lmdb, dbi } of allDbis(source)) {
          this.set({ lmdb, db: dbi.name, pagetype: 'branch' }, dbi.branchPages);
          this.set({ lmdb, db: dbi.name, pagetype: 'leaf' }, dbi.leafPages);
          this.set({ lmdb, db: dbi.name, pagetype: 'overflow' }, dbi.overflowPages);
        }
      },
    }),
  );
}

function createLagMetric(registry: Registry, source: DatabasesNow): void {
  registry.registerMetric(
    new Gauge({
      name: 'lightningstream_instance_lag_seconds',
      help: 'How long the newest object seen of an instance has been waiting to be merged',
      labelNames: ['lmdb', 'syncer_instance'],
      registers: [],
      collect() {
        this.reset();
        for (const status of source()) {
          for (const { instance, lagMs } of status.instances) {
            this.set({ lmdb: status.name, syncer_instance: instance }, lagMs / 1000);
          }
        }
      },
    }),
  );
}

function createBuildMetric(registry: Registry, version: string): void {
  const gauge = new Gauge({
    name: 'lightningstream_build_info',
    help: 'Always 1: the version of the agent and of Node',
    labelNames: ['version', 'node'],
    registers: [registry],
  });
  gauge.set({ version, node: process.version }, 1);
}

const LEVELS = { warning: 1, error: 2 } as const;

/** One value for each check of `/healthz`: 0 while it is fine. */
function createChecksMetric(registry: Registry, { databases, checks }: ScrapeSources): void {
  registry.registerMetric(
    new Gauge({
      name: 'lightningstream_health_check',
      help: 'Checks of /healthz: 0 fine, 1 a warning, 2 a failure; without lmdb: of the whole agent',
      labelNames: ['lmdb', 'check'],
      registers: [],
      collect() {
        this.reset();
        const all = databases();
        for (const { name } of all) {
          for (const check of DATABASE_CHECKS) {
            this.set({ lmdb: name, check }, 0);
          }
        }
        // The longest name first: one may be the beginning of another.
        const names = all.map(({ name }) => name).toSorted((a, b) => b.length - a.length);
        for (const { name, level } of checks(all)) {
          const lmdb = names.find((database) => name.startsWith(`${database}_`));
          const check = lmdb === undefined ? name : name.slice(lmdb.length + 1);
          this.set({ lmdb: lmdb ?? '', check }, LEVELS[level]);
        }
      },
    }),
  );
}

function createNoticesMetric(registry: Registry, notices: () => NoticeStatus): void {
  registry.registerMetric(
    new Gauge({
      name: 'lightningstream_notices_working',
      help: 'By source (queue, watch, poll): 0 while notices do not come and the storage is listed instead',
      labelNames: ['source'],
      registers: [],
      collect() {
        this.reset();
        const { source, trouble } = notices();
        this.set({ source }, trouble === undefined ? 1 : 0);
      },
    }),
  );
}

function createSmapsMetric(registry: Registry, source: DatabasesNow, smaps: SmapsReader): void {
  registry.registerMetric(
    new Gauge({
      name: 'lmdb_smaps_bytes',
      help: 'Memory map of the data file (Linux)',
      labelNames: ['lmdb', 'database_path', 'smap'],
      registers: [],
      async collect() {
        this.reset();
        const maps = await smaps(source().map(({ path }) => path));
        for (const { name, path } of source()) {
          for (const [smap, bytes] of maps.get(path) ?? []) {
            this.set({ lmdb: name, database_path: path, smap }, bytes);
          }
        }
      },
    }),
  );
}
