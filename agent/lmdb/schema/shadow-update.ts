import type { Meta, DataFile } from '../pages/data-file.ts';
import type { LeftOut } from '../changes/left-out.ts';
import type { KeySet } from '../changes/key-set.ts';
import type { Shadow } from './shadow.ts';
import type { NameSet } from './shadow-compare.ts';
import { COMPARE_BYTES, MAX_CATCH_UP_ROUNDS } from '../limits.ts';

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
 * Only the keys of a slice are held at a time.
 */
export function compareAll(shadow: Shadow, host: CatchUpHost, found: KeySet): void {
  const pinned = host.retainPin();
  let isComplete = false;
  try {
    const { invalid, leftOut } = host.changes;
    const { file, order } = host;
    const options = { invalid, leftOut, refused: order.refused };
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
