import type { PackedRow } from '../../../agent/lmdb/packed-entries.ts';
import { BindingWriteTxn, type PackedPut } from '../../../agent/lmdb/write-txn.ts';
import { setTxnId } from '../../../protocol/value-header.ts';

/** Until `jest.restoreAllMocks`: packed entries are put one by one through the binding, which is the plain way. */
export function putSingly(): void {
  jest.spyOn(BindingWriteTxn.prototype, 'putPacked').mockImplementation(plainPut);
}

function plainPut(this: BindingWriteTxn, row: PackedRow, at: number, atMost: number): PackedPut {
  let next = at;
  let put = 0;
  for (let passed = 0; passed < atMost && next < row.end; passed += 1) {
    if (!row.isLeftOut(next)) {
      const value = row.value(next);
      if (row.hasHeaders) {
        setTxnId(value, this.txnId);
      }
      this.put(row.dbiName, row.key(next), value);
      put += 1;
    }
    next = row.next(next);
  }
  return { next, put, dirtyPages: put };
}
