import { ChangeClassifier, type DisorderSink } from '../changes/change-classifier.ts';
import { ValueMap } from '../changes/value-map.ts';
import type { WriteTxn } from '../environment.ts';
import type { LocalChanges } from '../changes/local-changes.ts';
import type { DatabaseOptions } from '../local-database.ts';
import { nativeTargets, type FindTarget } from './merge-target.ts';
import type { OwnWrites, WrittenValues } from '../changes/own-writes.ts';
import type { DataFile, Meta } from '../pages/data-file.ts';
import { diffPages } from '../pages/diff.ts';
import type { PageSet } from '../pages/set.ts';
import { putBack } from '../changes/put-back.ts';
import { nativeDbis, type SyncedDbis } from '../changes/synced-dbis.ts';
import { REGRESSION_BYTES } from '../limits.ts';
import { applicationDbiName, isPrivateDbi, shadowDbiName } from '../../../protocol/dbi-name.ts';
import { RefusedDbis } from '../changes/refused-dbis.ts';
import { openShadow, type Shadow } from './shadow.ts';
import type { SyncState } from '../sync-state.ts';

/** Two states, and what is known of the way from one to the other. */
export type ChangesBetween = {
  readonly file: DataFile;
  readonly from: Meta;
  readonly to: Meta;
  readonly pages: PageSet;
  /** `_sync_state` of the newer one. */
  readonly state: SyncState;
  readonly own: OwnWrites;
  readonly futureFromNs: bigint;
  /** The marker as of now: what a DBI that is found out of order had of its changes sent. */
  readonly uploadedTxn: number | undefined;
};

export type RepairOptions = {
  readonly file: DataFile;
  readonly written: WrittenValues;
  readonly nowNs: bigint;
  readonly futureFromNs: bigint;
  /** Stamp registers only for so long, and leave the rest; undefined: all that are behind. */
  readonly stampMs: number | undefined;
};

/** What a transaction wrote before its own work. */
export type Repaired = {
  /** Local entries: put back or stamped. */
  readonly local: ValueMap;
  /** To be called with each register before it is put. */
  readonly alsoPut: ((dbiName: string, key: Buffer, value: Buffer) => void) | undefined;
  readonly committed: () => void;
};

/**
 * What depends on who keeps the registers: the application, with a header in each of its values, or we, in shadow
 * DBIs beside it.
 */
export class LocalSchema {
  /** undefined: the application keeps them. */
  readonly shadow: Shadow | undefined;
  /** Where the entries of an object go. */
  readonly targets: FindTarget;
  readonly refused = new RefusedDbis();
  readonly #options: DatabaseOptions;
  readonly #changes: LocalChanges;

  constructor(parts: { options: DatabaseOptions; state: SyncState; changes: LocalChanges }) {
    this.#options = parts.options;
    this.#changes = parts.changes;
    this.shadow = openShadow(parts.options, {
      lastSyncNs: parts.state.lastSyncNs,
      leftOut: parts.changes.leftOut,
    });
    this.targets = this.shadow?.targets ?? nativeTargets(parts.options.createFlags);
  }

  /** The DBIs that hold the registers of a state. */
  synced(file: DataFile, meta: Meta): SyncedDbis {
    const { refused } = this;
    if (this.shadow === undefined) {
      return nativeDbis(file, meta, refused);
    }
    return this.shadow.synced(file, meta, { dropped: this.#changes.droppedDbis, refused });
  }

  /**
   * A DBI, the application's or its shadow DBI, is not in the order of its flags: from now on it is left alone, and what
   * was known of its changes is forgotten.
   */
  suspect(dbiName: string, uploadedTxn: number | undefined): void {
    const name = applicationDbiName(dbiName) ?? dbiName;
    if (isPrivateDbi(name)) {
      return;
    }
    this.refused.suspect(name, uploadedTxn);
    for (const found of this.refused.takeNews()) {
      this.#changes.forgetDbi(found, this.shadow === undefined ? found : shadowDbiName(found));
      this.shadow?.forgetDbi(found);
    }
  }

  /** Takes over what a page diff finds, also what it found before it threw; true: data has changed. */
  findChanges(between: ChangesBetween): boolean {
    const { file, from, to, pages, state, own, futureFromNs } = between;
    const options = {
      merged: state.merged,
      overlay: own.overlay,
      invalid: this.#changes.invalid,
      leftOut: this.#changes.leftOut,
      futureFromNs,
      pendingBytesMax: this.#options.pendingBytesMax,
      regressionBytesMax: REGRESSION_BYTES,
      disorder: this.#disorderSink(between.uploadedTxn),
    };
    const { shadow } = this;
    const classifier = shadow?.classifier(file, to, options) ?? new ChangeClassifier(options);
    try {
      diffPages(file, from, to, pages, classifier);
      // Both sides of what we wrote were compared in the diff.
      const overwritten = shadow ? undefined : own.findOverwritten(file, to);
      if (overwritten !== undefined) {
        for (const dbiName of this.refused.markers.keys()) {
          overwritten.deleteDbi(dbiName);
        }
        this.#changes.addRegressed(overwritten);
      }
    } finally {
      this.#changes.addDiff(classifier);
    }
    return classifier.dataChanged;
  }

  #disorderSink(uploadedTxn: number | undefined): DisorderSink {
    const { refused } = this;
    return {
      has: (dbiName) => refused.has(dbiName),
      suspect: (dbiName) => this.suspect(dbiName, uploadedTxn),
      noteChange: (dbiName) => refused.noteChange(dbiName),
    };
  }

  /** Inside a transaction, before its work: puts regressed entries back, or brings registers up to date. */
  repair(txn: WriteTxn, options: RepairOptions): Repaired {
    const { file, written, stampMs } = options;
    const { shadow } = this;
    if (shadow === undefined) {
      const local = this.putBack(txn, file, written);
      return { local, alsoPut: undefined, committed: () => undefined };
    }
    const untilMs = stampMs === undefined ? undefined : performance.now() + stampMs;
    const { refused } = this;
    const stamped = shadow.stamp(txn, { ...options, refused, untilMs });
    const { local } = stamped;
    return {
      local,
      alsoPut: shadow.mainWriter(txn, { file, local }),
      committed: () => stamped.committed(this.#changes),
    };
  }

  /** Returns what was put back. */
  putBack(txn: WriteTxn, file: DataFile, written: WrittenValues): ValueMap {
    const local = new ValueMap();
    const changes = this.#changes;
    const count = putBack(txn, {
      file,
      regressed: changes.regressed,
      droppedDbis: changes.droppedDbis,
      onPut: (dbiName, key, value) => {
        written.add(dbiName, Buffer.from(key, 'latin1'), value);
        local.set(dbiName, key, value);
        changes.pending.add(dbiName, key);
      },
    });
    changes.countPutBack(count);
    return local;
  }
}
