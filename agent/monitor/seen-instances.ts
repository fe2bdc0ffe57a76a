import type { ObjectName } from '../../protocol/object-name.ts';
import type { SyncerMetrics } from './syncer-metrics.ts';
import type { InstanceStatus } from './status.ts';

/** What the LMDB covers, asked when a status is made. */
export interface Coverage {
  has(object: ObjectName): boolean;
  readonly vectorSize: number;
}

/** A fleet has thousands of instances at most; beyond this the oldest seen are forgotten. */
const MAX_INSTANCES = 10_000;

type Seen = {
  readonly newest: ObjectName;
  readonly sinceMs: number;
  readonly merged: ObjectName | undefined;
};

/** What one database's engine has seen of each other instance, and how far it is behind. */
export class SeenInstances {
  readonly #name: string;
  readonly #metrics: SyncerMetrics;
  readonly #now: () => number;
  readonly #instances = new Map<string, Seen>();

  constructor(deps: {
    readonly name: string;
    readonly metrics: SyncerMetrics;
    readonly now: () => number;
  }) {
    this.#name = deps.name;
    this.#metrics = deps.metrics;
    this.#now = deps.now;
  }

  /** This object exists. */
  see(newest: ObjectName, coverage: Coverage): void {
    const { instance } = newest;
    const nowMs = this.#now();
    const known = this.#instances.get(instance);
    if (known !== undefined && known.newest.timeNs >= newest.timeNs) {
      return;
    }
    if (known === undefined) {
      this.#metrics.beginInstance(this.#name, instance);
    }
    // While something older still waits, the wait goes on: the lag does not start anew with every object.
    const waiting = known !== undefined && !coverage.has(known.newest);
    this.#instances.delete(instance);
    this.#instances.set(instance, {
      newest,
      sinceMs: waiting ? known.sinceMs : nowMs,
      merged: known?.merged,
    });
    const [oldest] = this.#instances.keys();
    if (this.#instances.size > MAX_INSTANCES && oldest !== undefined) {
      this.#instances.delete(oldest);
    }
    const labels = { lmdb: this.#name, syncer_instance: instance };
    const seconds = Number(newest.timeNs) / 1e9;
    this.#metrics.receivedLast.set(labels, seconds);
    this.#metrics.receivedAge.observe(labels, nowMs / 1000 - seconds);
  }

  /** This object's content is in the LMDB. */
  merged(object: ObjectName): void {
    const seen = this.#instances.get(object.instance);
    if (seen !== undefined && (seen.merged === undefined || seen.merged.timeNs < object.timeNs)) {
      this.#instances.set(object.instance, { ...seen, merged: object });
    }
  }

  statuses(coverage: Coverage): InstanceStatus[] {
    return [...this.#instances].map(([instance, { newest, sinceMs, merged }]) => ({
      instance,
      newestMs: Number(newest.timeNs / 1_000_000n),
      mergedMs: merged && Number(merged.timeNs / 1_000_000n),
      lagMs: coverage.has(newest) ? 0 : Math.max(0, this.#now() - sinceMs),
    }));
  }
}
