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
import { applicationDbiName, isPrivateDbi, shadowDbiName } from '../../../protocol/dbi-name.ts';
import { LockGivenBack } from '../changes/given-back.ts';
import { RefusedDbis } from '../changes/refused-dbis.ts';
import { UnseenChanges } from '../changes/unseen.ts';
import { REGRESSION_BYTES, STAMPS_WITH_MERGE } from '../limits.ts';
import { findingsOf, openShadow, type Shadow } from './shadow.ts';
import type { SyncState } from '../sync-state.ts';
import type { Exchanged } from '../sync-state-text.ts';

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
  /** As of now, of a DBI that is found out of order. */
  readonly exchanged: Exchanged;
  /** Puts back what is known to have regressed; undefined: this is no moment for it. */
  readonly putBack: (() => void) | undefined;
};

export type RepairOptions = {
  readonly file: DataFile;
  readonly written: WrittenValues;
  readonly nowNs: bigint;
  readonly futureFromNs: bigint;
  /** Stamp registers or put back only for so long, and leave the rest; undefined: all that are known. */
  readonly stampMs: number | undefined;
  /** What the application did since this state is not known; undefined: all of it is. */
  readonly unseenSince: Meta | undefined;
};

/** What a transaction wrote before its own work. */
export type Repaired = {
  /** Local entries: put back or stamped. */
  readonly local: ValueMap;
  /** There are some, in `local` or filled in bulk: it is no mere merge. */
  readonly hasLocal: boolean;
  /** To be called with each register before it is put. */
  readonly alsoPut: ((dbiName: string, key: Buffer, value: Buffer) => void) | undefined;
  /** Brings what the application did to a register, unseen, into `local`; undefined: nothing is unseen. */
  readonly settle: ((dbiName: string, key: Buffer) => void) | undefined;
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
  suspect(dbiName: string, exchanged: Exchanged): void {
    const name = applicationDbiName(dbiName) ?? dbiName;
    if (isPrivateDbi(name)) {
      return;
    }
    this.refused.suspect(name, exchanged);
    for (const found of this.refused.takeNews()) {
      this.#changes.forgetDbi(found, this.shadow === undefined ? found : shadowDbiName(found));
      this.shadow?.forgetDbi(found);
    }
  }

  /** Takes over what a page diff finds, also what it found before it threw; true: data has changed. */
  findChanges(between: ChangesBetween): boolean {
    const { file, from, to, pages, state, own, futureFromNs, putBack } = between;
    const options = {
      merged: state.merged,
      overlay: own.overlay,
      invalid: this.#changes.invalid,
      leftOut: this.#changes.leftOut,
      futureFromNs,
      pendingBytesMax: this.#options.pendingBytesMax,
      regressionBytesMax: REGRESSION_BYTES,
      disorder: this.#disorderSink(between.exchanged),
      putBack:
        putBack &&
        ((found: ChangeClassifier) => {
          this.#changes.addRegressions(found);
          putBack();
        }),
    };
    const { shadow } = this;
    const classifier = shadow?.classifier(file, to, options) ?? new ChangeClassifier(options);
    let isGivenBack = false;
    try {
      // Both sides of what we wrote are compared. Before the diff: that one has moved the page set once it returns, so
      // that whatever threw after it would lose its changes.
      const overwritten = shadow ? undefined : own.findOverwritten(file, to);
      diffPages(file, from, to, pages, classifier);
      if (overwritten !== undefined) {
        for (const dbiName of this.refused.exchanged.keys()) {
          overwritten.deleteDbi(dbiName);
        }
        this.#changes.addRegressed(overwritten);
      }
    } catch (error) {
      isGivenBack = error instanceof LockGivenBack;
      throw error;
    } finally {
      // The same diff comes at once, without the lock: counted here, its changes would count twice.
      if (!isGivenBack) {
        this.#changes.addDiff(classifier);
      }
    }
    return classifier.dataChanged;
  }

  #disorderSink(exchanged: Exchanged): DisorderSink {
    const { refused } = this;
    return {
      has: (dbiName) => refused.has(dbiName),
      suspect: (dbiName) => this.suspect(dbiName, exchanged),
      noteChange: (dbiName) => refused.noteChange(dbiName),
    };
  }

  /** Inside a transaction, before its work: puts regressed entries back, or brings registers up to date. */
  repair(txn: WriteTxn, options: RepairOptions): Repaired {
    const { file, written, stampMs, unseenSince } = options;
    const { shadow } = this;
    const untilMs = stampMs === undefined ? undefined : performance.now() + stampMs;
    if (shadow === undefined) {
      if (untilMs === undefined && this.#changes.regressed.size > STAMPS_WITH_MERGE) {
        throw new LockGivenBack();
      }
      const { local, committed } = this.putBack(txn, { file, written, untilMs });
      const settle =
        unseenSince && this.#keyPutBack(txn, { file, from: unseenSince, written, local });
      return { local, hasLocal: local.size > 0, alsoPut: undefined, settle, committed };
    }
    if (unseenSince !== undefined && untilMs === undefined) {
      // What is behind is left alone: stamping it is other transactions' work.
      const local = new ValueMap();
      return {
        local,
        hasLocal: false,
        alsoPut: this.#mainWriter(shadow, txn, { file, local }),
        settle: shadow.keyStamper(txn, { ...options, refused: this.refused, local }),
        committed: () => this.#changes.addChanges(findingsOf(local, options.futureFromNs)),
      };
    }
    const stamped = shadow.stamp(txn, { ...options, refused: this.refused, untilMs });
    const { local, hasLocal } = stamped;
    return {
      local,
      hasLocal,
      alsoPut: this.#mainWriter(shadow, txn, { file, local }),
      settle: undefined,
      committed: () => stamped.committed(this.#changes),
    };
  }

  /** Puts back what regressed, until a moment. */
  putBack(
    txn: WriteTxn,
    options: { file: DataFile; written: WrittenValues; untilMs: number | undefined },
  ): Pick<Repaired, 'local' | 'committed'> {
    const local = new ValueMap();
    const { regressed, droppedDbis } = this.#changes;
    const done = putBack(txn, {
      ...options,
      regressed,
      droppedDbis,
      onPut: (dbiName, key, value) =>
        this.#notePut({ dbiName, key, value }, options.written, local),
    });
    this.#changes.countPutBack(local.size);
    const committed = () => {
      for (const { dbiName, key } of done) {
        regressed.delete(dbiName, key);
      }
    };
    return { local, committed };
  }

  #notePut(
    { dbiName, key, value }: { dbiName: string; key: string; value: Buffer },
    written: WrittenValues,
    local: ValueMap,
  ): void {
    written.add(dbiName, Buffer.from(key, 'latin1'), value);
    local.set(dbiName, key, value);
    this.#changes.pending.add(dbiName, key);
  }

  /** As {@link putBack}, of single keys, where no diff has told what regressed. */
  #keyPutBack(
    txn: WriteTxn,
    parts: { file: DataFile; from: Meta; written: WrittenValues; local: ValueMap },
  ): (dbiName: string, key: Buffer) => void {
    const { file, from, written, local } = parts;
    const unseen = new UnseenChanges({ file, from, to: txn.committed });
    return (dbiName, key) => {
      const text = key.toString('latin1');
      const flags = unseen.flagsBefore(dbiName);
      if (flags !== undefined && txn.dbiFlags(dbiName) === undefined) {
        txn.createDbi(dbiName, flags);
        written.dataChanged = true;
      }
      const lost = local.get(dbiName, text) === undefined ? unseen.lost(dbiName, key) : undefined;
      if (lost === undefined) {
        return;
      }
      const regressed = new ValueMap();
      regressed.set(dbiName, text, lost);
      const onPut = (name: string, put: string, value: Buffer) =>
        this.#notePut({ dbiName: name, key: put, value }, written, local);
      putBack(txn, { file, regressed, droppedDbis: new Map(), onPut });
      this.#changes.countPutBack(1);
    };
  }

  #mainWriter(
    shadow: Shadow,
    txn: WriteTxn,
    parts: { file: DataFile; local: ValueMap },
  ): Repaired['alsoPut'] {
    return shadow.mainWriter(txn, { ...parts, dropped: this.#changes.droppedDbis });
  }
}
