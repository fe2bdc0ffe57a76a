import { tmpdir } from 'node:os';
import { ObjectMerger } from '../../../agent/engine/object-merger.ts';
import type { PassResult } from '../../../agent/engine/pass-result.ts';
import { StoredProof } from '../../../agent/engine/proof/stored-proof.ts';
import { Receiver } from '../../../agent/engine/receiver.ts';
import type { EngineDeps } from '../../../agent/engine/types.ts';
import { VectorTracker } from '../../../agent/engine/vector-tracker.ts';
import type { MergeRequest } from '../../../agent/lmdb/local-database.ts';
import { SyncObservers } from '../../../agent/monitor/sync-observers.ts';
import { Semaphore } from '../../../agent/pacing/semaphore.ts';
import { readSpool } from '../../../agent/spool.ts';
import type { SyncObserver } from '../../../agent/engine/observer.ts';
import { errorText, SyncError } from '../../../protocol/errors.ts';
import { streamOf } from '../../../protocol/object-name.ts';
import type { VersionVector } from '../../../protocol/version-vector.ts';
import type { ObjectStore } from '../../../storage/object-store.ts';
import { mergeBytes, SIGNAL, type State } from '../compaction.ts';
import { engineSettings } from '../engine.ts';

/** A host's receiving half: the real receiver and merger, over a state in memory instead of an LMDB. */
export class FreshReader {
  readonly state: State = new Map();
  readonly tracker: VectorTracker;
  readonly proof: StoredProof;
  /** Names of what was merged, in order. */
  readonly merged: string[] = [];
  readonly receiver: Receiver;

  constructor(
    store: ObjectStore,
    options: {
      readonly database?: string;
      readonly vector?: VersionVector;
      readonly nowNs?: () => bigint;
      readonly observer?: Partial<SyncObserver>;
    } = {},
  ) {
    const { database = 'main', nowNs = () => 1_800_000_000_000_000_000n } = options;
    const settings = engineSettings({ database, instance: 'fresh', run: 'reader' });
    const deps = {
      settings: { ...settings, spoolFolder: tmpdir() },
      store,
      clock: { nowNs },
      observer: Object.assign(new SyncObservers([]), options.observer),
      log: { warn: () => {}, debug: () => {}, info: () => {}, error: () => {} },
      db: { merge: (request: MergeRequest) => this.#merge(request) },
    } as unknown as EngineDeps;
    this.tracker = new VectorTracker(options.vector ?? new Map(), { instance: 'fresh' });
    this.proof = new StoredProof(undefined, {
      instance: 'fresh',
      nowMs: () => Number(nowNs() / 1_000_000n),
      random: () => 0,
    });
    const merger = new ObjectMerger(deps, {
      tracker: this.tracker,
      limits: { memory: new Semaphore(8) },
      onLooked: () => {},
      onIdle: () => {},
    });
    this.receiver = new Receiver(deps, {
      tracker: this.tracker,
      merger,
      ownStream: streamOf('fresh', 'reader'),
      proof: this.proof,
    });
  }

  pass(): Promise<PassResult> {
    return this.receiver.pass({ signal: SIGNAL });
  }

  async #merge({ name, spool }: MergeRequest): Promise<unknown> {
    const chunks: Uint8Array[] = [];
    for await (const chunk of readSpool(spool)) {
      chunks.push(chunk);
    }
    // Damaged, it changes nothing.
    try {
      mergeBytes(new Map(), Buffer.concat(chunks));
    } catch (error) {
      throw error instanceof SyncError
        ? error
        : new SyncError('SNAPSHOT_CORRUPT', errorText(error), { cause: error });
    }
    mergeBytes(this.state, Buffer.concat(chunks));
    this.merged.push(name);
    return {};
  }
}

/** What a host without any data gets from the bucket: the invariant of every compaction. Rejects where it cannot tell. */
export async function freshState(
  store: ObjectStore,
  database = 'main',
  options: { readonly baseMayBeLost?: boolean } = {},
): Promise<State> {
  const reader = new FreshReader(store, { database });
  const { unreadable, retry } = await reader.pass();
  const isWrong = unreadable !== undefined && options.baseMayBeLost !== true;
  if (isWrong || retry) {
    throw unreadable ?? new Error('not everything that is listed could be read');
  }
  return reader.state;
}
