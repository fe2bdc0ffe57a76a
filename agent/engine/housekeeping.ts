import { runCleaner } from './cleaner.ts';
import type { ObjectMerger } from './object-merger.ts';
import type { Publisher } from './publisher.ts';
import type { PassResult } from './pass-result.ts';
import type { Rejoin } from './rejoin.ts';
import { oldestReadNs } from './sweep-limit.ts';
import { Sweeper } from './sweeper.ts';
import type { EngineDeps } from './types.ts';

/** The same for both, but that each reports its waits to the watchdog under its own name. */
type HousekeepingDeps = { readonly cleaning: EngineDeps; readonly sweeping: EngineDeps };

/** Runs cleaner and sweeper of one engine, where they are wanted, until `signal` aborts. */
export async function runHousekeeping(
  { cleaning: cleaningDeps, sweeping: sweepingDeps }: HousekeepingDeps,
  parts: {
    publisher: Publisher;
    merger: ObjectMerger;
    rejoin: Rejoin;
    /** A listing pass of this run was complete, and nothing is known to be lost. */
    isSynced: () => boolean;
    /** The last pass was. */
    isWhole: () => boolean;
    /** Tombstones were dropped: see `Manifest.droppedNs`. */
    onDropped: (droppedNs: bigint) => void;
    /** The last complete pass. */
    lastPass: () => PassResult | undefined;
    signal: AbortSignal;
  },
): Promise<void> {
  const { publisher, merger, rejoin, isSynced, isWhole, onDropped, lastPass, signal } = parts;
  const { sweeping } = sweepingDeps;
  const mayClean = () => isSynced() && isWhole() && !rejoin.isDue;
  // What a damaged object holds is unknown: it may be older than a tombstone that would be dropped.
  const maySweep = () => mayClean() && merger.quarantinedNames.size === 0;
  const oldest = () => {
    const pass = lastPass();
    return pass && oldestReadNs(pass);
  };
  const limits = { maySweep, oldestReadNs: oldest, onDropped };
  const sweeper = sweeping && new Sweeper(sweepingDeps, { ...sweeping, ...limits });
  await Promise.all([
    runCleaner(cleaningDeps, { stored: publisher, mayClean, signal }),
    sweeper?.run(signal),
  ]);
}
