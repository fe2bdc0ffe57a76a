import { timestampNsAt } from '../../../protocol/value-header.ts';
import { LockGivenBack } from '../changes/given-back.ts';
import { ValueMap } from '../changes/value-map.ts';
import type { WriteTxn } from '../environment.ts';
import { KeySet } from '../changes/key-set.ts';
import type { LeftOut } from '../changes/left-out.ts';
import type { ChangeFindings, LocalChanges } from '../changes/local-changes.ts';
import type { DatabaseOptions } from '../local-database.ts';
import type { FindTarget } from './merge-target.ts';
import type { WrittenValues } from '../changes/own-writes.ts';
import { listDbis, type DataFile, type Meta } from '../pages/data-file.ts';
import type { SyncedDbis } from '../changes/synced-dbis.ts';
import { ShadowClassifier, type ShadowClassifierOptions } from './shadow-classifier.ts';
import {
  findBehind,
  lacksShadow,
  requireNoDuplicates,
  type BehindKey,
  type CompareOptions,
  type NameSet,
} from './shadow-compare.ts';
import { committedLive, liveValue, mainValue, stampOne, writeMain } from './shadow-register.ts';
import { shadowedDbis, shadowTargets, type ShadowSchemaOptions } from './shadow-schema.ts';
import { applicationDbiName, shadowDbiName, isPrivateDbi } from '../../../protocol/dbi-name.ts';
import type { ShadowFill } from './shadow-fill.ts';
import { shadowDbiFlags, ShadowSides } from './shadow-sides.ts';
import type { SyncState } from '../sync-state.ts';
import { BEHIND_BYTES, STAMPS_WITH_MERGE, WRITES_PER_CLOCK_LOOK } from '../limits.ts';

/** Time of what was there before anything was ever synced; as upstream does it. */
const FIRST_TIME_NS = 1n;

/** The registers of an LMDB whose application keeps none; undefined: it does. */
export function openShadow(
  options: DatabaseOptions,
  { lastSyncNs, leftOut }: Pick<SyncState, 'lastSyncNs'> & { readonly leftOut: LeftOut },
): Shadow | undefined {
  const { schemaTracksChanges = true, dupsortHack = false, createFlags = {} } = options;
  if (schemaTracksChanges) {
    return undefined;
  }
  return new Shadow({ dupsortHack, createFlags, lastSyncNs, leftOut });
}

/** What a transaction has to know to bring registers up to date. */
export type StampOptions = {
  readonly file: DataFile;
  /** Takes what is stamped. */
  readonly written: WrittenValues;
  readonly nowNs: bigint;
  /** Times above this are in the future. */
  readonly futureFromNs: bigint;
  /** DBIs that are left alone. */
  readonly refused: NameSet;
  /** Stop at this moment of `performance.now()`, and leave the rest; undefined: all of it must be done. */
  readonly untilMs: number | undefined;
  /** What the application did since this state is not known; undefined: all of it is. */
  readonly unseenSince?: Meta | undefined;
};

/** What a transaction has stamped. */
export type Stamped = {
  /** The new registers, by shadow DBI; less those of a {@link ShadowFill}. */
  readonly local: ValueMap;
  /** There are some, here or there. */
  readonly hasLocal: boolean;
  /** To be called when it is committed: they are local changes, and no longer behind. */
  readonly committed: (changes: LocalChanges) => void;
};

/** A key that was dealt with. */
type Done = { readonly set: KeySet; readonly dbiName: string; readonly key: string };

/**
 * The registers that we keep for an application without headers: which of them are behind the application, and how
 * they are brought up to date. Every transaction of ours leaves both sides equal: a local change is stamped into
 * the shadow DBI, a merged register is written to both.
 */
export class Shadow {
  /** Keys whose registers are behind since a moment ago; overflowed: which they are is to be found by comparing all. */
  readonly behind = new KeySet(BEHIND_BYTES);
  /** Keys whose registers were behind when the agent started. */
  readonly behindAtStart = new KeySet(Number.POSITIVE_INFINITY);
  /** Registers that go into a DBI that had none, with the next transactions that only stamp. */
  fill: ShadowFill | undefined;
  readonly targets: FindTarget;
  readonly #schema: ShadowSchemaOptions;
  /** The earliest moment at which what is behind at start can have happened. */
  readonly #downNs: bigint;
  readonly #leftOut: LeftOut;

  constructor(
    options: ShadowSchemaOptions & {
      readonly lastSyncNs: bigint | undefined;
      /** Takes the application's entries that no object can carry. */
      readonly leftOut: LeftOut;
    },
  ) {
    this.#schema = options;
    this.#leftOut = options.leftOut;
    this.#downNs = options.lastSyncNs ?? FIRST_TIME_NS;
    this.targets = shadowTargets(options);
  }

  /** The shadow DBIs of a state, but those of `refused` DBIs; `dropped`: flags of DBIs that the application has dropped. */
  synced(
    file: DataFile,
    meta: Meta,
    options: { readonly dropped: ReadonlyMap<string, number>; readonly refused: NameSet },
  ): SyncedDbis {
    return shadowedDbis(file, meta, { ...this.#schema, ...options });
  }

  /** Forgets what is behind in a DBI of the application: it is left alone from now on. */
  forgetDbi(dbiName: string): void {
    this.behind.deleteDbi(dbiName);
    this.behindAtStart.deleteDbi(dbiName);
  }

  /** Errors: CONFIG_INVALID for an MDB_DUPSORT DBI without dupsort_hack. */
  requireSyncable(file: DataFile, meta: Meta): void {
    if (!this.#schema.dupsortHack) {
      requireNoDuplicates(file, meta);
    }
  }

  /** When what is behind at start has happened at the earliest. */
  get downNs(): bigint {
    return this.#downNs;
  }

  /** Takes what a diff up to `to` finds. */
  classifier(
    file: DataFile,
    to: Meta,
    options: Omit<ShadowClassifierOptions, 'sides' | 'behind' | 'dupsortHack'>,
  ): ShadowClassifier {
    return new ShadowClassifier({
      ...options,
      sides: new ShadowSides(file, to, this.#leftOut),
      behind: this.behind,
      dupsortHack: this.#schema.dupsortHack,
    });
  }

  /** Compares both sides of everything but refused DBIs at one root. */
  findBehind(
    file: DataFile,
    meta: Meta,
    options: Omit<CompareOptions, 'dupsortHack'>,
  ): Generator<BehindKey> {
    return findBehind(file, meta, { dupsortHack: this.#schema.dupsortHack, ...options });
  }

  /** True if the registers are not what the application has, as of this state. */
  isBehind(file: DataFile, meta: Meta, refused: NameSet): boolean {
    return !this.behind.isEmpty || !this.behindAtStart.isEmpty || lacksShadow(file, meta, refused);
  }

  /** Brings registers up to date with the state that the transaction starts from. */
  stamp(txn: WriteTxn, options: StampOptions): Stamped {
    const { file, untilMs, written, futureFromNs } = options;
    if (untilMs === undefined && (this.behind.overflowed || this.behind.size > STAMPS_WITH_MERGE)) {
      throw new LockGivenBack();
    }
    createShadows(txn, options);
    const local = new ValueMap();
    const sides = new ShadowSides(file, txn.committed, this.#leftOut);
    const before =
      options.unseenSince &&
      unseenMain(
        new ShadowSides(file, options.unseenSince, this.#leftOut),
        new ShadowSides(file, txn.committed, this.#leftOut),
      );
    const done: Done[] = [];
    let isCut = false;
    for (const { set, dbiName, key } of this.#allBehind()) {
      const isOfNow = set === this.behind || before?.hasChanged(dbiName, key) === true;
      const timeNs = isOfNow ? options.nowNs : this.#downNs;
      stampOne(txn, { dbiName, key, timeNs, sides: sides.of(dbiName), local, written });
      done.push({ set, dbiName, key });
      const isLookDue = done.length % WRITES_PER_CLOCK_LOOK === 0;
      if (untilMs !== undefined && isLookDue && performance.now() > untilMs) {
        isCut = true;
        break;
      }
    }
    // At least a few with each such transaction, so that it comes to an end.
    const isTimeLeft = untilMs !== undefined && !isCut;
    const filled = isTimeLeft ? this.fill?.put(txn, written) : undefined;
    const committed = (changes: LocalChanges) => {
      for (const { set, dbiName, key } of done) {
        set.delete(dbiName, key);
      }
      changes.addChanges(findingsOf(local, futureFromNs));
      if (filled !== undefined) {
        filled.committed();
        changes.addChanges(filledFindings(filled.put, this.#downNs));
      }
    };
    return { local, hasLocal: local.size > 0 || (filled?.put ?? 0) > 0, committed };
  }

  /**
   * Stamps single keys of shadow DBIs, as a change of now, where the application has another value: what
   * {@link stamp} does for all that are known to be behind.
   */
  keyStamper(
    txn: WriteTxn,
    options: Omit<StampOptions, 'untilMs' | 'futureFromNs'> & { readonly local: ValueMap },
  ): (shadowName: string, key: Buffer) => void {
    const { file, written, nowNs, local } = options;
    const sides = new ShadowSides(file, txn.committed, this.#leftOut);
    return (shadowName, key) => {
      const dbiName = applicationDbiName(shadowName);
      if (dbiName !== undefined) {
        const both = sides.of(dbiName);
        const text = key.toString('latin1');
        stampOne(txn, { dbiName, key: text, timeNs: nowNs, sides: both, local, written });
      }
    };
  }

  *#allBehind(): Generator<Done> {
    for (const set of [this.behind, this.behindAtStart]) {
      for (const [dbiName, keys] of set.dbis()) {
        for (const key of keys) {
          yield { set, dbiName, key };
        }
      }
    }
  }

  /**
   * Writes a register of another instance to the application's DBI, too, in the transaction that puts it into the shadow
   * DBI; `local`: what this transaction has stamped. Both sides are in step until then,
   * and no key is written twice.
   */
  mainWriter(
    txn: WriteTxn,
    {
      file,
      local,
      dropped,
    }: { file: DataFile; local: ValueMap; dropped: ReadonlyMap<string, number> },
  ): (shadowName: string, key: Buffer, value: Buffer) => void {
    const sides = new ShadowSides(file, txn.committed, this.#leftOut);
    return (shadowName, key, value) => {
      const dbiName = applicationDbiName(shadowName);
      if (dbiName === undefined) {
        return;
      }
      const own = local.get(shadowName, key.toString('latin1'));
      const both = sides.of(dbiName);
      const before = own === undefined ? committedLive(both, key) : liveValue(own);
      // The application has something here that nobody else can have: it is left alone.
      if (own === undefined && both.isTooLarge && both.hasMain) {
        return;
      }
      const after = liveValue(value);
      // Dropped by the application since it was looked at; what wins there brings it back.
      if (after !== undefined && txn.dbiFlags(dbiName) === undefined) {
        txn.createDbi(dbiName, dropped.get(dbiName) ?? 0);
      }
      writeMain(txn, { dbiName, key, before, after });
    };
  }
}

/** Tells what the application did to single keys between two states. */
function unseenMain(
  old: ShadowSides,
  now: ShadowSides,
): { hasChanged(dbiName: string, key: string): boolean } {
  return {
    hasChanged(dbiName, keyText) {
      const key = Buffer.from(keyText, 'latin1');
      const [before, after] = [old.of(dbiName), now.of(dbiName)];
      before.look(key);
      after.look(key);
      if (!before.hasMain || !after.hasMain) {
        return before.hasMain !== after.hasMain;
      }
      return !mainValue(before).equals(mainValue(after));
    },
  };
}

/** Makes the shadow DBIs that are missing, also those of empty DBIs: they travel, too. */
function createShadows(txn: WriteTxn, { file, written, refused }: StampOptions): void {
  const dbis = listDbis(file, txn.committed);
  for (const [name, record] of dbis) {
    if (isPrivateDbi(name) || refused.has(name) || dbis.has(shadowDbiName(name))) {
      continue;
    }
    txn.createDbi(shadowDbiName(name), shadowDbiFlags(record.flags));
    written.dataChanged = true;
  }
}

/** What is stamped is local changes like any other. */
export function findingsOf(local: ValueMap, futureFromNs: bigint): ChangeFindings {
  const pending = new KeySet(Number.POSITIVE_INFINITY);
  let maxTsNs = 0n;
  let futureEntries = 0;
  for (const { dbiName, key, value } of local.entries()) {
    pending.add(dbiName, key);
    const timeNs = timestampNsAt(value, 0);
    if (timeNs > maxTsNs) {
      maxTsNs = timeNs;
    }
    if (timeNs > futureFromNs) {
      futureEntries += 1;
    }
  }
  return { pending, newChanges: local.size, futureEntries, maxTsNs };
}

/** Too many to be remembered by key: they go out by a scan, or with all the rest. */
function filledFindings(registers: number, timeNs: bigint): ChangeFindings {
  const pending = new KeySet(0);
  if (registers > 0) {
    pending.overflow();
  }
  const maxTsNs = registers > 0 ? timeNs : 0n;
  return { pending, newChanges: registers, futureEntries: 0, maxTsNs };
}
