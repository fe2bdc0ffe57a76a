import type { SweepPosition } from '../lmdb/local-database.ts';
import type { SweeperObserver, SweepReport, SweeperSettings } from './housekeeping-types.ts';
import type { EngineDeps } from './types.ts';

/** Where a sweep may not begin yet, it is asked again after this long. */
const RETRY_MS = 60_000;
const MIN_PAUSE_MS = 1000;
/** Timers of Node hold no more. */
const MAX_PAUSE_MS = 2 ** 31 - 1;

export type SweeperParts = {
  readonly settings: SweeperSettings;
  readonly observer: SweeperObserver;
  /** True while tombstones may be dropped: after a complete pass, with nothing unread, not before a rejoin. */
  readonly maySweep: () => boolean;
  /** The time of the oldest object that anybody may still read; undefined: there is none. */
  readonly oldestReadNs: () => bigint | undefined;
  /** Called with the time up to which what comes back may be older than what was dropped. */
  readonly onDropped: (droppedNs: bigint) => void;
};

/**
 * Drops tombstones older than the retention from the local LMDB, in short transactions with pauses between them.
 * Only those that are in stored objects or came from them: an unsent deletion dropped here would be lost. And only those
 * that are older than whatever anybody may still read, see {@link oldestReadNs}.
 */
export class Sweeper {
  readonly #deps: EngineDeps;
  readonly #parts: SweeperParts;

  constructor(deps: EngineDeps, parts: SweeperParts) {
    this.#deps = deps;
    this.#parts = parts;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { sleep, observer, watchdog } = this.#deps;
    const { settings, maySweep } = this.#parts;
    const loop = watchdog.loop('sweep');
    let pauseMs = settings.firstIntervalMs;
    while (!signal.aborted) {
      const restMs = Math.min(Math.max(pauseMs, MIN_PAUSE_MS), MAX_PAUSE_MS);
      loop.rests(restMs);
      await sleep(restMs, signal).catch(noop);
      if (signal.aborted) {
        return;
      }
      pauseMs = Math.min(settings.intervalMs, RETRY_MS);
      if (!maySweep()) {
        continue;
      }
      try {
        if ((await loop.during('a sweep', () => this.sweep(signal))) !== undefined) {
          pauseMs = settings.intervalMs;
          observer.stepWorked('sweep');
        }
      } catch (error) {
        if (signal.aborted) {
          return;
        }
        observer.stepFailed('sweep', error);
      }
    }
  }

  /** One sweep; undefined: it was broken off, because it may not go on. */
  async sweep(signal: AbortSignal): Promise<SweepReport | undefined> {
    const { db, clock, sleep } = this.#deps;
    const { settings, observer, maySweep } = this.#parts;
    const startedNs = clock.nowNs();
    const halfNs = BigInt(Math.round(settings.retentionMs)) * 500_000n;
    // A host in step stores its last content without the deletion half the retention after it at most.
    const oldestNs = (this.#parts.oldestReadNs() ?? startedNs) - halfNs;
    const agedNs = startedNs - 2n * halfNs;
    const cutoffNs = oldestNs < agedNs ? oldestNs : agedNs;
    const sum = { entries: 0, tombstones: 0, removed: 0, transactions: 0 };
    let from: SweepPosition | undefined;
    do {
      if (!maySweep()) {
        return undefined;
      }
      const slice = await db.sweep({
        from,
        cutoffNs,
        rejoinBeforeNs: cutoffNs + halfNs,
        lockMs: settings.lockMs,
      });
      if (slice.removed > 0) {
        this.#parts.onDropped(cutoffNs + halfNs);
      }
      sum.entries += slice.entries;
      sum.tombstones += slice.tombstones;
      sum.removed += slice.removed;
      sum.transactions += slice.transactions;
      from = slice.next;
      if (from !== undefined) {
        await sleep(settings.releaseMs, signal);
      }
    } while (from !== undefined);
    const report = { ...sum, durationMs: Number(clock.nowNs() - startedNs) / 1e6 };
    observer.swept(report);
    return report;
  }
}

function noop(): void {}
