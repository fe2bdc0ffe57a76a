import { compact } from '../../compaction/compact.ts';
import { DEFAULT_POLICY } from '../../compaction/policy.ts';
import { MemoryScratch } from '../support/compaction.ts';
import type { SeededRandom } from '../support/random.ts';
import type { RecordingStore } from './recording-store.ts';
import type { Scheduler } from './time/scheduler.ts';
import { SimStore, type Fate } from './sim-store.ts';
import type { Traits } from './traits.ts';

export type CompactionsOptions = {
  readonly bucket: RecordingStore;
  readonly scheduler: Scheduler;
  readonly traits: Traits;
  readonly random: SeededRandom;
  readonly faults: SeededRandom;
  readonly fate: Fate;
  readonly log: (text: string) => void;
};

/** The runs of compactors in a simulated world, each a process of its own. */
export class Compactions {
  readonly #options: CompactionsOptions;
  readonly #running = new Set<{ abort: AbortController; owner: { isGone: boolean } }>();

  constructor(options: CompactionsOptions) {
    this.#options = options;
  }

  /** Begins one run; it goes on beside everything else. */
  start(database: string): void {
    const { bucket, traits, scheduler, faults, fate, log } = this.#options;
    const random = this.#options.random.fork();
    const owner = { isGone: false };
    const abort = new AbortController();
    const running = { abort, owner };
    const beganMs = scheduler.nowMs;
    const { deadlineMs, roomBytes, ...policy } = traits.compaction;
    this.#running.add(running);
    const store = new SimStore({
      bucket,
      scheduler,
      random: faults,
      owner,
      network: traits.network,
      fate,
      log: (text) => log(`  ${text}`),
    });
    void compact({
      store,
      database,
      scratch: new MemoryScratch({ roomBytes }),
      policy: { ...DEFAULT_POLICY, ...policy, upstreamReads: traits.upstream },
      signal: abort.signal,
      nowNs: () => scheduler.clock.nowNs(),
      monotonicMs: () => scheduler.nowMs,
      deadlineMs: deadlineMs === undefined ? undefined : beganMs + deadlineMs,
      random: random.bytes,
      writer: 'simulation',
    })
      .then(
        (report) => log(`  compaction of ${database}: ${report.outcome}`),
        (error: unknown) => log(`  compaction of ${database} ended: ${String(error)}`),
      )
      .finally(() => this.#running.delete(running));
  }

  /** The processes are gone, or are told to end. */
  end(how: 'crash' | 'abort'): void {
    for (const running of this.#running) {
      if (how === 'abort') {
        running.abort.abort(new Error('aborted'));
      } else {
        running.owner.isGone = true;
      }
    }
    if (how === 'crash') {
      this.#running.clear();
    }
  }
}
