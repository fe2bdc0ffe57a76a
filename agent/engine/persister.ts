import type { StoredProof } from './proof/stored-proof.ts';
import type { EngineDeps } from './types.ts';
import type { VectorTracker } from './vector-tracker.ts';

/** With nothing else to persist, the time of the last complete pass is written this often. */
const LAST_SYNC_PERSIST_MS = 60 * 60 * 1000;

export type PersisterParts = {
  readonly tracker: VectorTracker;
  readonly proof: StoredProof;
  /** How many objects of this run are stored: with each the uploaded marker moves. */
  readonly acknowledged: () => bigint;
  /** When the last pass began that counts as a sync. */
  readonly lastSyncNs: () => bigint | undefined;
  /** Every write looks at the LMDB first: what it found is to be sent. */
  readonly onLooked: () => void;
};

/** Writes the bookkeeping into the LMDB: vector, marker and max_ts (always together), and the time of the last sync. */
export class Persister {
  readonly #deps: EngineDeps;
  readonly #parts: PersisterParts;
  #persisted:
    | { revision: number; proven: number; acknowledged: bigint; lastSyncNs: bigint }
    | undefined;

  constructor(deps: EngineDeps, parts: PersisterParts) {
    this.#deps = deps;
    this.#parts = parts;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { settings, sleep, observer, watchdog } = this.#deps;
    const loop = watchdog.loop('persist');
    while (!signal.aborted) {
      loop.rests(settings.persistIntervalMs);
      await sleep(settings.persistIntervalMs, signal).catch(noop);
      if (signal.aborted) {
        return;
      }
      try {
        await loop.during('the sync state', () => this.persist());
        observer.stepWorked('sync state');
      } catch (error) {
        observer.stepFailed('sync state', error);
      }
    }
  }

  /** Writes vector, marker and max_ts when they moved; the pass time with them, or hourly. At the stop: always. */
  async persist(options: { atStop?: boolean } = {}): Promise<void> {
    const { tracker, proof, onLooked } = this.#parts;
    const { revision: proven, saved } = proof;
    const { revision, change } = tracker;
    const acknowledged = this.#parts.acknowledged();
    const before = this.#persisted;
    const lastSyncNs = this.#parts.lastSyncNs();
    const moved =
      before?.revision !== revision ||
      before.proven !== proven ||
      before.acknowledged !== acknowledged;
    const sinceMs = Number((lastSyncNs ?? 0n) - (before?.lastSyncNs ?? 0n)) / 1e6;
    const overdue = lastSyncNs !== undefined && sinceMs >= LAST_SYNC_PERSIST_MS;
    if (!moved && !overdue && options.atStop !== true) {
      return;
    }
    await this.#deps.db.persist({
      ...change,
      proof: saved,
      ...(lastSyncNs === undefined ? {} : { lastSyncNs }),
      ...(options.atStop === true ? { entriesAtStop: true } : {}),
    });
    tracker.noteSent(change);
    onLooked();
    this.#persisted = { revision, proven, acknowledged, lastSyncNs: lastSyncNs ?? 0n };
  }
}

function noop(): void {}
