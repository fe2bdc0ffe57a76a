import type { Clock } from '../../../protocol/time.ts';
import { TooManyRegressions } from '../changes/change-classifier.ts';
import { LockGivenBack } from '../changes/given-back.ts';
import { WrittenValues } from '../changes/own-writes.ts';
import type { WriteOutcome, WriteTxn } from '../environment.ts';
import {
  DIFF_PART,
  MAX_GIVEN_BACK,
  MAX_PUT_BACK_ROUNDS,
  MAX_TRIES,
  STAMP_PART,
} from '../limits.ts';
import type { LocalChanges } from '../changes/local-changes.ts';
import type { DatabaseOptions } from '../local-database.ts';
import type { SavedVector } from '../saved-vector.ts';
import { catchUp, type CatchUpHost } from '../schema/shadow-update.ts';
import type { Basis } from './basis.ts';
import type { OrderWatch } from './order-watch.ts';
import { sessionTxn, type SessionTxn } from './txn.ts';

/** What transactions need of the session that they belong to. */
export interface TransactionsHost extends CatchUpHost {
  readonly options: DatabaseOptions;
  readonly changes: LocalChanges;
  readonly vector: SavedVector;
  readonly lacksPageOrder: boolean;
  readonly order: OrderWatch;
  writeInto<T>(work: (txn: WriteTxn) => T): WriteOutcome<T>;
}

/** The write transactions of a session: how they begin, and what bounds the time for which they hold the lock. */
export class Transactions {
  readonly #session: TransactionsHost;
  readonly #known: Basis;
  readonly #clock: Clock;
  readonly #repin: () => void;

  /** `repin` moves the pin to the newest state, as far as that is possible now. */
  constructor(parts: { session: TransactionsHost; known: Basis; clock: Clock; repin: () => void }) {
    this.#session = parts.session;
    this.#known = parts.known;
    this.#clock = parts.clock;
    this.#repin = parts.repin;
  }

  /**
   * One write transaction. Inside it, first, the diff up to the state that it starts from (which cannot move now):
   * what regressed there is put back in the same transaction. After it the pin moves past it, with what it wrote
   * as the old side of that diff, so that an application's write in between is still seen.
   *
   * Where that diff is long, the lock is given back, and the diff made without it. The application may have committed
   * as much again by then, and so on for ever: it holds the lock for longer than our diff takes. So after a few
   * times the transaction goes on without the diff. It looks at each register that it touches, in the state up to
   * which changes are known and in the one that it starts from ({@link SessionTxn.settle}). That tells for these keys
   * what the diff would. All other changes are found by the diff behind it. So the lock is held for what is written,
   * whatever the application has written before.
   */
  transact<T>(work: (txn: SessionTxn) => T): WriteOutcome<T> {
    for (let tries = 1; ; tries += 1) {
      try {
        return this.#transactOnce(work, { isCaughtUp: tries <= MAX_GIVEN_BACK });
      } catch (error) {
        if (!(error instanceof LockGivenBack)) {
          throw error;
        }
        if (tries >= MAX_TRIES) {
          throw error.asSyncError();
        }
        this.#catchUpUnlocked();
      }
    }
  }

  /** `stampMs`: stamp or put back only for so long, and leave the rest. */
  #transactOnce<T>(
    work: (txn: SessionTxn) => T,
    { stampMs, isCaughtUp }: { stampMs?: number; isCaughtUp: boolean },
  ): WriteOutcome<T> {
    const written = new WrittenValues();
    const afterCommit: (() => void)[] = [];
    const { own: ownWrites, schema } = this.#known;
    const { order } = this.#session;
    // Before the lock is asked for, and again inside, where it counts.
    order.requireWritable(this.#known.meta);
    const outcome = this.#session.writeInto((txn) => {
      const lockedMs = performance.now();
      if (isCaughtUp) {
        this.#advanceInside(txn, lockedMs);
      } else if (schema.shadow === undefined && !ownWrites.isPassed) {
        // The next refresh passes it.
        throw new LockGivenBack().asSyncError();
      }
      order.requireWritable(txn.committed);
      const isExact = this.#known.meta.txnId === txn.committed.txnId;
      const repaired = schema.repair(txn, {
        file: this.#session.file,
        written,
        nowNs: this.#clock.nowNs(),
        futureFromNs: this.#known.futureFromNs(),
        stampMs,
        unseenSince: isCaughtUp ? undefined : this.#known.meta,
      });
      const { local, hasLocal, alsoPut, settle } = repaired;
      const quietSince = ownWrites.quietSince(txn, !hasLocal);
      const state = this.#known.stateAt(txn.committed);
      const parts = { state, vector: this.#session.vector, afterCommit, written, local, alsoPut };
      const { lacksPageOrder } = this.#session;
      const more = { lockedMs, settle, quietSince, lacksPageOrder };
      const result = work(sessionTxn(txn, { ...parts, ...more }));
      // What the work wrote as local counts, too.
      return {
        result,
        own: { written, quietSince, onlyMerged: !hasLocal && local.size === 0, isExact },
        repaired,
      };
    });
    // From here on it is committed.
    const { result, own, repaired } = outcome.result;
    repaired.committed();
    for (const done of afterCommit) {
      done();
    }
    const { txnId } = outcome;
    if (txnId !== undefined) {
      ownWrites.add({ ...own, txnId });
    }
    this.#repin();
    return { ...outcome, result };
  }

  /** What a transaction has given the lock back for is done now, in transactions of its own where it writes. */
  #catchUpUnlocked(): void {
    this.#repin();
    const { shadow } = this.#known.schema;
    if (shadow !== undefined) {
      catchUp(shadow, this.#session);
      return;
    }
    const { changes } = this.#session;
    for (let round = 0; changes.regressed.size > 0 && round < MAX_PUT_BACK_ROUNDS; round += 1) {
      this.#transactOnce(() => undefined, { stampMs: this.#repairMs, isCaughtUp: false });
    }
  }

  /** As {@link transact}, without other work, and only for so long as registers may be stamped. */
  stampSome(): void {
    for (let tries = 1; ; tries += 1) {
      try {
        const isCaughtUp = tries <= MAX_GIVEN_BACK;
        const stampMs = this.#repairMs;
        const { lockHeldMs } = this.#transactOnce(() => undefined, { stampMs, isCaughtUp });
        this.#known.schema.shadow?.fill?.learn(lockHeldMs);
        return;
      } catch (error) {
        if (!(error instanceof LockGivenBack)) {
          throw error;
        }
        this.#repin();
      }
    }
  }

  /** How long one transaction may stamp or put back, where there is more than fits. */
  get #repairMs(): number {
    return this.#session.options.maxLockHoldMs * STAMP_PART;
  }

  /**
   * Too many to hold: these are put back first. The pin and the page set stay, and the diff goes on after it: a dropped DBI
   * is read once however large it is, and once more at the end.
   */
  putBackWithoutMoving(): void {
    const { file } = this.#session;
    for (
      let round = 0;
      this.#session.changes.regressed.size > 0 && round < MAX_PUT_BACK_ROUNDS;
      round += 1
    ) {
      const { result } = this.#session.writeInto((txn) => {
        this.#session.order.requireWritable(txn.committed);
        const untilMs = performance.now() + this.#repairMs;
        const written = new WrittenValues();
        return this.#known.schema.putBack(txn, { file, written, untilMs });
      });
      result.committed();
    }
  }

  /** For a part of the time that the lock may be held. A page takes microseconds, so that is kept. */
  #advanceInside(txn: WriteTxn, lockedMs: number): void {
    const untilMs = lockedMs + this.#session.options.maxLockHoldMs * DIFF_PART;
    const check = () => {
      if (performance.now() >= untilMs) {
        throw new LockGivenBack();
      }
    };
    try {
      this.#session.order.advanceInside(() =>
        this.#session.file.bounded(check, () => this.#known.advance(txn.committed)),
      );
    } catch (error) {
      // The next refresh puts them back in rounds.
      throw error instanceof TooManyRegressions ? error.asSyncError() : error;
    }
  }
}
