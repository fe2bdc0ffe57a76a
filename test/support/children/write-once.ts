import { Application } from '../lmdb.ts';

// The application in a process of its own: enlarges the map as asked, or holds the write lock for a while.

const [file = '', mapSize = '0', holdMs = '0'] = process.argv.slice(2);
const application = new Application(file, { mapSize: Number(mapSize) });
application.write((txn) => {
  txn.put('zones', 'from the other process', { value: '1', ts: 10 });
  if (Number(holdMs) > 0) {
    process.stdout.write('locked\n');
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(holdMs));
  }
});
