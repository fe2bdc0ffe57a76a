import { errorText, SyncError } from '../../../protocol/errors.ts';
import { parseObjectName, type ObjectName } from '../../../protocol/object-name.ts';
import type { HealthConfig } from '../../config/config.ts';
import type {
  ListedEvent,
  MergedEvent,
  PassedEvent,
  Step,
  StoredEvent,
  SyncObserver,
} from '../../engine/observer.ts';
import { DatabaseHealth } from '../health.ts';
import { LeftOutWatch } from './left-out-watch.ts';
import { Quarantine } from './quarantine.ts';
import type { Detection, EncodedObject } from '../../lmdb/local-database.ts';
import type { Logger } from '../../log/log.ts';
import { LmdbTrouble } from './lmdb-trouble.ts';
import { logHeldSchema } from './schema-lines.ts';
import type { SyncerMetrics } from '../syncer-metrics.ts';
import { logMerged, logStored } from './object-lines.ts';
import { OccurrenceCount } from './occurrence-count.ts';
import { RefusedObjects } from './refused-objects.ts';
import { SeenInstances, type Coverage } from './seen-instances.ts';
import { StepMonitor } from './step-monitor.ts';
import { UnsentAge } from './unsent-age.ts';
import type { Watchdog } from '../../watchdog/watchdog.ts';
import type {
  ActivityStatus,
  DatabaseStatus,
  EnvironmentStatus,
  MergeStatus,
  RejoinStatus,
  UploadStatus,
} from '../status.ts';

export type MonitorDeps = {
  readonly name: string;
  readonly path: string;
  readonly health: HealthConfig;
  readonly metrics: SyncerMetrics;
  readonly log: Logger;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Knows which loops of the engine make progress. */
  readonly watchdog?: Watchdog | undefined;
};

/** Streams of agents with this one's name that are told. */
const MAX_SHARED_NAME = 1000;

/** Uploads and merges that the status page shows. */
const MAX_RECENT = 20;

/** Steps whose failing says that the LMDB cannot be used now. */
const LMDB_STEPS: readonly Step[] = ['merge', 'local changes', 'sync state'];

/** Follows one database's engine: keeps its status, its health and its metrics, and logs what an operator reads. */
export class DatabaseMonitor implements SyncObserver {
  readonly health: DatabaseHealth;
  readonly #deps: MonitorDeps;
  readonly #instances: SeenInstances;
  readonly #quarantine: Quarantine;
  readonly #leftOut: LeftOutWatch;
  readonly #refused: RefusedObjects;
  readonly #sharedName = new Set<string>();
  readonly #unsent = new UnsentAge();
  /** When the last complete pass ended. */
  #lastPassMs: number | undefined;
  #recent: readonly ActivityStatus[] = [];
  #rejoin: RejoinStatus | undefined;
  #coverage: Coverage = { has: () => false, vectorSize: 0 };
  #environment: EnvironmentStatus | undefined;
  #detection: Detection | undefined;
  readonly #steps: StepMonitor;
  readonly #trouble: LmdbTrouble;
  #lastMerge: MergeStatus | undefined;
  #lastUpload: UploadStatus | undefined;
  readonly #regressions: OccurrenceCount;
  readonly #futureEntries: OccurrenceCount;
  readonly #rescans: OccurrenceCount;
  #rescanReason = '';

  constructor(deps: MonitorDeps) {
    this.#deps = deps;
    this.#leftOut = new LeftOutWatch(deps.log);
    this.#quarantine = new Quarantine(deps.log);
    this.#refused = new RefusedObjects(deps.log);
    this.#regressions = new OccurrenceCount(deps.now);
    this.#futureEntries = new OccurrenceCount(deps.now);
    this.#rescans = new OccurrenceCount(deps.now);
    this.health = new DatabaseHealth(deps.name, deps.health, deps);
    this.#instances = new SeenInstances(deps);
    deps.metrics.beginDatabase(deps.name);
    this.#steps = new StepMonitor({ ...deps, health: this.health });
    this.#trouble = new LmdbTrouble(deps.log);
  }

  /** From now on the lag and the size of the vector are asked here. */
  follow(coverage: Coverage): void {
    this.#coverage = coverage;
  }

  /** A fresh look at the LMDB environment. */
  looked(environment: EnvironmentStatus): void {
    this.#environment = environment;
  }

  /** A rejoin is due (and why it could not be finished), or no longer. */
  rejoining(rejoin: RejoinStatus | undefined): void {
    this.#rejoin = rejoin;
  }

  status(): DatabaseStatus {
    const detection = this.#detection;
    const errors = LMDB_STEPS.map((step) => this.health.step(step).error);
    const error = errors.find((failed) => failed !== undefined);
    return {
      name: this.#deps.name,
      path: this.#deps.path,
      environment: this.#environment,
      error: error === undefined ? undefined : errorText(error),
      mapFull: errors.some((failed) => failed instanceof SyncError && failed.code === 'MAP_FULL'),
      started: this.health.isStarted,
      lastPassMs: this.#lastPassMs,
      unsentMs: this.#unsent.ageMs(this.#deps.now()),
      pendingKeys: detection?.pendingKeys ?? 0,
      pendingBytes: detection?.pendingBytes ?? 0,
      pendingScan: detection?.pendingScan ?? false,
      vectorSize: this.#coverage.vectorSize,
      instances: this.#instances.statuses(this.#coverage),
      lastMerge: this.#lastMerge,
      lastUpload: this.#lastUpload,
      recent: this.#recent,
      rejoin: this.#rejoin,
      quarantined: this.#quarantine.objects,
      refused: this.#refused.objects,
      regressions: this.#regressions.occurrences,
      futureEntries: this.#futureEntries.occurrences,
      rescans: { ...this.#rescans.occurrences, reason: this.#rescanReason },
      invalidValues: detection?.invalidValues ?? 0,
      heldSchema: detection?.heldSchema,
      leftOut: this.#leftOut.local,
      receivedLeftOut: this.#leftOut.received,
      sharedName: [...this.#sharedName],
      ...this.#trouble.status,
    };
  }

  detected(detection: Detection): void {
    const { metrics, log, name, now } = this.#deps;
    logHeldSchema(log, this.#detection?.heldSchema, detection.heldSchema);
    this.#detection = detection;
    this.#trouble.note(detection);
    this.#leftOut.detected(detection.leftOut);
    this.#unsent.looked(detection.pendingKeys > 0 || detection.pendingScan, now());
    if (detection.regressions > 0) {
      metrics.regressions.inc({ lmdb: name }, detection.regressions);
      if (this.#regressions.add(detection.regressions)) {
        log.warn(
          { entries: detection.regressions },
          'local changes were older than what they replaced and were put back: the clock of this host is behind',
        );
      }
    }
    this.#countFuture(detection.futureEntries);
    this.#noteRescan(detection.rescan);
  }

  #noteRescan(reason: string | undefined): void {
    const { metrics, log, name } = this.#deps;
    if (reason === undefined) {
      return;
    }
    metrics.rescans.inc({ lmdb: name });
    this.#rescanReason = reason;
    if (this.#rescans.add(1)) {
      log.warn({ reason }, 'cannot compare two states of the LMDB, reading all of it instead');
    }
  }

  generated(_name: string, encoded: EncodedObject): void {
    const { metrics, name, now } = this.#deps;
    const { spool } = encoded;
    this.#unsent.generated(now());
    metrics.generated.inc({ lmdb: name });
    metrics.generatedLast.set({ lmdb: name }, now() / 1000);
    metrics.generatedSize.set(
      { lmdb: name },
      spool.kind === 'memory' ? spool.bytes.length : spool.sizeBytes,
    );
  }

  stored(event: StoredEvent): void {
    const { metrics, log, name, now } = this.#deps;
    const { encoded, sizeBytes } = event;
    this.#steps.worked('store');
    this.#unsent.stored();
    this.#lastUpload = {
      atMs: now(),
      object: event.name,
      kind: encoded.kind,
      entries: encoded.entries,
      sizeBytes,
      totalMs: event.totalMs,
    };
    this.#note({
      direction: 'upload',
      instance: parseObjectName(event.name)?.instance ?? '',
      changed: encoded.entries,
      ...this.#lastUpload,
    });
    metrics.storeCalls.inc();
    metrics.storeBytes.inc(sizeBytes);
    metrics.storedObjects.inc({ lmdb: name, kind: encoded.kind });
    metrics.storedEntries.inc({ lmdb: name }, encoded.entries);
    metrics.storeDuration.observe({ lmdb: name }, event.totalMs / 1000);
    logStored(log, event);
  }

  storeFailed(name: string | undefined, error: unknown): void {
    const { metrics } = this.#deps;
    metrics.storeCalls.inc();
    metrics.storeFailed.inc({ lmdb: this.#deps.name });
    this.#steps.failed('store', error, { fields: { snapshot_name: name } });
  }

  listed(event: ListedEvent): void {
    const { metrics, name } = this.#deps;
    this.#steps.worked('list');
    metrics.listCalls.inc();
    metrics.inStorage.set({ lmdb: name }, event.objects);
    metrics.inStorageBytes.set({ lmdb: name }, event.bytes);
    for (const newest of event.newest.values()) {
      this.#instances.see(newest, this.#coverage);
    }
  }

  listFailed(error: unknown): void {
    const { metrics, name } = this.#deps;
    metrics.listCalls.inc();
    metrics.listFailed.inc({ lmdb: name });
    this.#steps.failed('list', error);
  }

  loaded(name: string, sizeBytes: number): void {
    const { metrics, log } = this.#deps;
    this.#steps.worked('load', name);
    metrics.loadCalls.inc();
    metrics.loadBytes.inc(sizeBytes);
    log.debug({ snapshot_name: name, compressed_size_bytes: sizeBytes }, 'Downloaded snapshot');
  }

  loadFailed(object: ObjectName, error: unknown): void {
    const { metrics, name } = this.#deps;
    // Told of by a notice and not fetched: its instance is behind from now on, not from the next listing on.
    this.#instances.see(object, this.#coverage);
    metrics.loadCalls.inc();
    metrics.loadFailed.inc({ lmdb: name, syncer_instance: object.instance });
    this.#steps.failed('load', error, { subject: object.name });
  }

  merged(event: MergedEvent): void {
    const { metrics, log, name, now } = this.#deps;
    const { object, result } = event;
    this.#refused.release(object.name);
    this.#instances.see(object, this.#coverage);
    this.#instances.merged(object);
    this.#lastMerge = {
      atMs: now(),
      object: object.name,
      entries: result.entries,
      changed: result.changed,
      transactions: result.transactions,
      lockHeldMs: result.lockHeldMaxMs,
      totalMs: event.totalMs,
    };
    const { instance, kind } = object;
    const { sizeBytes } = event;
    this.#note({ direction: 'merge', instance, kind, sizeBytes, ...this.#lastMerge });
    const lmdb = { lmdb: name };
    metrics.mergedObjects.inc({ ...lmdb, syncer_instance: object.instance });
    // What was there before this start is older than any latency; a snapshot of ours also holds what is old.
    if (this.health.isStarted && (kind === 'delta' || !object.ours)) {
      const latencyMs = Math.max(0, now() - Number(object.timeNs) / 1e6);
      metrics.commitToVisible.observe(lmdb, latencyMs / 1000);
    }
    metrics.mergedEntries.inc(lmdb, result.entries);
    metrics.mergedChanges.inc(lmdb, result.changed);
    metrics.mergeTransactions.inc(lmdb, result.transactions);
    if (result.transactions > 0) {
      metrics.lockHeld.observe(lmdb, result.lockHeldMaxMs / 1000);
      metrics.lockWait.observe(lmdb, result.lockWaitMs / 1000);
    }
    this.#countFuture(result.futureEntries);
    this.#leftOut.merged(event);
    logMerged(log, event);
  }

  stepFailed(step: Step, error: unknown, subject?: string): void {
    const { metrics, name } = this.#deps;
    if (LMDB_STEPS.includes(step)) {
      metrics.lmdbFailed.inc({ lmdb: name });
    }
    this.#steps.failed(step, error, { subject });
  }

  stepWorked(step: Step, subject?: string): void {
    this.#steps.worked(step, subject);
  }

  /** Nothing that is wanted is left to load or to merge: what failed before has come in, or is gone. */
  passed({ complete }: PassedEvent): void {
    this.#steps.worked('load');
    this.#steps.worked('merge');
    if (complete) {
      this.#lastPassMs = this.#deps.now();
    }
  }

  quarantined(object: ObjectName, error: SyncError): void {
    this.#instances.see(object, this.#coverage);
    this.#quarantine.add(object, error);
  }

  refused(object: ObjectName, error: SyncError): void {
    this.#instances.see(object, this.#coverage);
    this.#refused.add(object, error);
  }

  released(name: string): void {
    this.#quarantine.release(name);
    this.#refused.release(name);
  }

  started(): void {
    this.health.started();
    this.#deps.log.info({}, 'Initial sync done');
  }

  sharedNameSeen(stream: string): void {
    if (!this.#sharedName.has(stream) && this.#sharedName.size < MAX_SHARED_NAME) {
      this.#sharedName.add(stream);
      this.#deps.log.warn(
        { stream },
        'another agent stores objects under this instance name: give each agent a name of its own',
      );
    }
  }

  #note(activity: ActivityStatus): void {
    this.#recent = [activity, ...this.#recent.slice(0, MAX_RECENT - 1)];
  }

  #countFuture(entries: number): void {
    if (entries > 0) {
      const { metrics, log, name } = this.#deps;
      metrics.futureEntries.inc({ lmdb: name }, entries);
      if (this.#futureEntries.add(entries)) {
        log.warn({ entries }, 'entries have a time in the future: check the clocks of all hosts');
      }
    }
  }
}
