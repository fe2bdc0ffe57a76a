// Another process in the middle of a long write transaction:
//   tsx lock-holder.ts FILE HOLD_MS
// Prints a line once it has the write lock and another when it let go.
import { open } from 'lmdb';

const [path = '', holdMs = '0'] = process.argv.slice(2);
const root = open({ path, noSubdir: true, overlappingSync: false, maxDbs: 64 });
root.transactionSync(() => {
  process.stdout.write('held\n');
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(holdMs));
});
process.stdout.write('released\n');
void root.close();
