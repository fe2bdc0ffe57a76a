import {
  FLAG_DELETED,
  VALUE_HEADER_BYTES,
  headerLengthAt,
  isDeletedAt,
  setTxnId,
  timestampNsAt,
  writeValueHeader,
} from '../../../protocol/value-header.ts';
import { decodePair } from '../../../protocol/dupsort-hack.ts';
import { shadowDbiName } from '../../../protocol/dbi-name.ts';
import type { WrittenValues } from '../changes/own-writes.ts';
import type { ValueMap } from '../changes/value-map.ts';
import { MDB_DUPSORT } from '../pages/layout.ts';
import type { WriteTxn } from '../write-txn.ts';
import type { DbiSides } from './shadow-sides.ts';

/** The last time that a header can hold. */
const MAX_TIME_NS = 0xffff_ffff_ffff_ffffn;

/** Makes one register what the application has, unless it is already. */
export function stampOne(
  txn: WriteTxn,
  options: {
    dbiName: string;
    key: string;
    timeNs: bigint;
    sides: DbiSides;
    local: ValueMap;
    written: WrittenValues;
  },
): void {
  const { dbiName, key: keyText, timeNs, sides, local, written } = options;
  const shadowName = shadowDbiName(dbiName);
  // Stamped in this transaction already, as a change of now.
  if (local.get(shadowName, keyText) !== undefined) {
    return;
  }
  const key = Buffer.from(keyText, 'latin1');
  sides.look(key);
  if (sides.isInStep) {
    return;
  }
  const storedNs = sides.hasShadow ? timestampNsAt(sides.shadowBuffer, sides.shadowStart) : -1n;
  const stampNs = timeNs > storedNs ? timeNs : storedNs + 1n;
  if (stampNs > MAX_TIME_NS) {
    // Nothing can come after the end of time: the application's change loses, as it would on every other host.
    const before = sides.hasMain ? mainValue(sides) : undefined;
    writeMain(txn, { dbiName, key, before, after: committedLive(sides, key) });
    written.dataChanged = true;
    return;
  }
  const value = registerOf(sides, stampNs);
  setTxnId(value, txn.txnId);
  txn.put(shadowName, key, value);
  local.set(shadowName, keyText, value);
  written.add(shadowName, key, value);
}

/** Header and the application's value, or a tombstone where it has none. */
function registerOf(sides: DbiSides, timeNs: bigint): Buffer {
  const { hasMain, mainBuffer, mainStart, mainEnd } = sides;
  const length = hasMain ? mainEnd - mainStart : 0;
  const value = Buffer.allocUnsafe(VALUE_HEADER_BYTES + length);
  writeValueHeader(value, 0, {
    timeHi: Number(timeNs >> 32n),
    timeLo: Number(timeNs & 0xffff_ffffn),
    txnId: 0,
    flags: hasMain ? 0 : FLAG_DELETED,
  });
  if (hasMain) {
    mainBuffer.copy(value, VALUE_HEADER_BYTES, mainStart, mainEnd);
  }
  return value;
}

/** Makes the application's entry what its register says. `before`: the value that it has now; undefined: none. */
export function writeMain(
  txn: WriteTxn,
  write: {
    dbiName: string;
    key: Buffer;
    before: Buffer | undefined;
    after: Buffer | undefined;
  },
): void {
  const { dbiName, key, before, after } = write;
  if (before !== undefined && after !== undefined && before.equals(after)) {
    return;
  }
  if (((txn.dbiFlags(dbiName) ?? 0) & MDB_DUPSORT) === 0) {
    if (after !== undefined) {
      txn.put(dbiName, key, after);
    } else if (before !== undefined) {
      txn.remove(dbiName, key);
    }
    return;
  }
  const pair = decodePair(key);
  if (pair === undefined) {
    return;
  }
  if (before !== undefined) {
    txn.removeValue(dbiName, pair.key, before);
  }
  if (after !== undefined) {
    txn.put(dbiName, pair.key, after);
  }
}

/** The application value of a register with a valid header; undefined: it is deleted. */
export function liveValue(value: Buffer): Buffer | undefined {
  if (isDeletedAt(value, 0)) {
    return undefined;
  }
  return value.subarray(headerLengthAt(value, 0, value.length));
}

/** The value that the register of the committed state holds; undefined: it is deleted, or there is none. */
export function committedLive(sides: DbiSides, key: Buffer): Buffer | undefined {
  sides.look(key);
  const { isLive, shadowBuffer, liveStart, shadowEnd } = sides;
  return isLive ? shadowBuffer.subarray(liveStart, shadowEnd) : undefined;
}

/** The application's value; borrowed until the next look. */
export function mainValue({ mainBuffer, mainStart, mainEnd }: DbiSides): Buffer {
  return mainBuffer.subarray(mainStart, mainEnd);
}
