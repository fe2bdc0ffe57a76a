import type { Meta, DataFile } from '../pages/data-file.ts';
import type { LeftOut } from '../changes/left-out.ts';
import type { KeySet } from '../changes/key-set.ts';
import type { Shadow } from './shadow.ts';
import type { NameSet } from './shadow-compare.ts';
import { RegisterReader, ShadowFill, unregisteredDbis } from './shadow-fill.ts';
import { COMPARE_BYTES, MAX_CATCH_UP_ROUNDS, MAX_FILL_ROUNDS } from '../limits.ts';
import { LockBudget } from '../lock-budget.ts';
import { listDbis } from '../pages/data-file.ts';

/** What catching up needs of a session. */
export interface CatchUpHost {
  readonly file: DataFile;
  /** The state up to which changes are known. */
  readonly basis: Meta;
  readonly changes: { readonly invalid: Set<string>; readonly leftOut: LeftOut };
  /** DBIs of the application that are left alone. */
  readonly order: { readonly refused: NameSet };
  retainPin(): { meta: Meta; release(): void };
  /** One transaction that stamps as many registers as its share of the lock's time allows. */
  stampSome(): void;
  readonly options: { readonly maxLockHoldMs: number };
}

const NO_NAMES: NameSet = new Set();

/**
 * Makes the registers of DBIs that have none yet, in bulk: at a first start that is all of them. Nothing is compared,
 * and no key is held. Returns the DBIs that are done; the rest is for {@link compareAll}.
 */
export function fillUnregistered(shadow: Shadow, host: CatchUpHost): NameSet {
  const done = new Set<string>();
  for (const dbiName of unregisteredDbis(host.file, host.basis, host.order.refused)) {
    let after: Buffer | undefined;
    for (let round = 0; round < MAX_FILL_ROUNDS && !shadow.behind.overflowed; round += 1) {
      const filled = fillFrom(shadow, host, { dbiName, after });
      after = filled.after;
      if (filled.isDone) {
        done.add(dbiName);
        break;
      }
    }
  }
  return done;
}

/** Reads and fills until all is done, or the application commits: then the state that was read is not the newest. */
function fillFrom(
  shadow: Shadow,
  host: CatchUpHost,
  options: { readonly dbiName: string; readonly after: Buffer | undefined },
): { isDone: boolean; after: Buffer | undefined } {
  const { dbiName } = options;
  let { after } = options;
  const { file } = host;
  const pinned = host.retainPin();
  try {
    const { meta } = pinned;
    const main = listDbis(file, meta).get(dbiName);
    if (main === undefined || host.order.refused.has(dbiName)) {
      return { isDone: false, after };
    }
    const timeHi = Number(shadow.downNs >> 32n);
    const timeLo = Number(shadow.downNs & 0xffff_ffffn);
    const reader = new RegisterReader({
      file,
      meta,
      dbiName,
      main,
      after,
      timeHi,
      timeLo,
      behind: shadow.behind,
      leftOut: host.changes.leftOut,
    });
    const budget = new LockBudget(host.options.maxLockHoldMs);
    let readTxn = meta.txnId;
    while (!reader.isAtEnd) {
      const fill = new ShadowFill({ registers: reader.next(), budget, readTxn });
      shadow.fill = fill;
      while (!fill.isDone && !fill.isStale) {
        host.stampSome();
      }
      after = fill.lastKey ?? after;
      ({ readTxn } = fill);
      if (fill.isStale) {
        return { isDone: false, after };
      }
    }
    return { isDone: true, after };
  } finally {
    shadow.fill = undefined;
    pinned.release();
  }
}

/** Stamps until nothing is behind: in several transactions where one would hold the lock too long. */
export function catchUp(shadow: Shadow, host: CatchUpHost): void {
  if (shadow.behind.overflowed) {
    shadow.behind.clear();
    compareAll(shadow, host, shadow.behind);
  }
  settle(shadow, host);
}

/**
 * Compares everything once and stamps what is behind, as `found`: at the start, and where no diff can tell.
 * Only the keys of a slice are held at a time. DBIs that are `inStep` are left out.
 */
export function compareAll(
  shadow: Shadow,
  host: CatchUpHost,
  found: KeySet,
  inStep: NameSet = NO_NAMES,
): void {
  const pinned = host.retainPin();
  let isComplete = false;
  try {
    const { invalid, leftOut } = host.changes;
    const { file, order } = host;
    const isLeftOut = (name: string) => order.refused.has(name) || inStep.has(name);
    const options = { invalid, leftOut, refused: { has: isLeftOut } };
    for (const { dbiName, key } of shadow.findBehind(file, pinned.meta, options)) {
      found.add(dbiName, key);
      if (found.bytes > COMPARE_BYTES) {
        settle(shadow, host);
      }
    }
    settle(shadow, host);
    isComplete = true;
  } finally {
    pinned.release();
    // What was not compared is to be found by another one.
    if (!isComplete) {
      shadow.behind.overflow();
    }
  }
}

function settle(shadow: Shadow, host: CatchUpHost): void {
  for (let round = 0; shadow.isBehind(host.file, host.basis, host.order.refused); round += 1) {
    // The application goes on changing things, or there is more to compare: with the next look.
    if (round >= MAX_CATCH_UP_ROUNDS || shadow.behind.overflowed) {
      return;
    }
    host.stampSome();
  }
}
