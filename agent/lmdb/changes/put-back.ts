import { writeValueHeader, VALUE_HEADER_BYTES } from '../../../protocol/value-header.ts';
import { newView } from '../../../protocol/snapshot.ts';
import { showValue } from './stored-value.ts';
import { ValueMap } from './value-map.ts';
import type { WriteTxn } from '../environment.ts';
import { listDbis, type DataFile, type Meta } from '../pages/data-file.ts';
import { WRITES_PER_CLOCK_LOOK } from '../limits.ts';
import { StoredRegisters } from './stored-registers.ts';

export type PutBackOptions = {
  readonly file: DataFile;
  /** The winner of each key that a local write replaced by something that loses against it. */
  readonly regressed: ValueMap;
  /** Flags of DBIs that were dropped: an entry of one brings it back. */
  readonly droppedDbis: ReadonlyMap<string, number>;
  readonly onPut: (dbiName: string, key: string, value: Buffer) => void;
  /** Stop at this moment of `performance.now()`, and leave the rest; undefined: all of it. */
  readonly untilMs?: number | undefined;
};

/** A key that was dealt with. */
export type PutBackKey = { readonly dbiName: string; readonly key: string };

/**
 * Writes each winner back, unless something newer is there by now. Returns the keys that are dealt with, in whichever
 * way, once the transaction is committed.
 */
export function putBack(txn: WriteTxn, options: PutBackOptions): PutBackKey[] {
  const { file, regressed, droppedDbis, onPut, untilMs } = options;
  const done: PutBackKey[] = [];
  if (regressed.size === 0) {
    return done;
  }
  const dbis = listDbis(file, txn.committed);
  const stored = new StoredRegisters(file, dbis);
  for (const { dbiName, key: keyText, value } of regressed.entries()) {
    const isLookDue = done.length > 0 && done.length % WRITES_PER_CLOCK_LOOK === 0;
    if (untilMs !== undefined && isLookDue && performance.now() >= untilMs) {
      break;
    }
    done.push({ dbiName, key: keyText });
    const key = Buffer.from(keyText, 'latin1');
    if (stored.compare({ dbiName, key, value }) !== 'wins') {
      continue;
    }
    const restored = plainValue(value, txn.txnId);
    if (txn.dbiFlags(dbiName) === undefined) {
      txn.createDbi(dbiName, droppedDbis.get(dbiName) ?? 0);
    }
    txn.put(dbiName, key, restored);
    onPut(dbiName, keyText, restored);
  }
  return done;
}

/** Native values by key; empty: the key was removed. */
export interface Written {
  entries(): Iterable<{ readonly dbiName: string; readonly key: Buffer; readonly value: Buffer }>;
}

/**
 * What our last transaction wrote and somebody has removed or replaced by a loser since. The diff alone misses a key
 * that was new with us and is gone again: neither of its sides has it.
 */
export function findOverwritten(file: DataFile, to: Meta, written: Written): ValueMap {
  const overwritten = new ValueMap();
  const stored = new StoredRegisters(file, listDbis(file, to));
  for (const { dbiName, key, value } of written.entries()) {
    // Removed by us: nothing that another process did to it since has overwritten anything.
    if (value.length === 0) {
      continue;
    }
    if (stored.compare({ dbiName, key, value }) === 'wins') {
      overwritten.set(dbiName, key.toString('latin1'), value);
    }
  }
  return overwritten;
}

/** The same register with a plain header of this transaction. */
function plainValue(value: Buffer, txnId: number): Buffer {
  const view = newView();
  showValue(view, value, 0, value.length);
  const { timeHi, timeLo, flags, valueStart, valueEnd } = view;
  const plain = Buffer.alloc(VALUE_HEADER_BYTES + valueEnd - valueStart);
  const at = writeValueHeader(plain, 0, { timeHi, timeLo, txnId, flags });
  value.copy(plain, at, valueStart, valueEnd);
  return plain.subarray(0, at + valueEnd - valueStart);
}
