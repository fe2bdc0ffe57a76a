// A reader that opens a transaction and never ends it:
//   tsx reader.ts FILE
import { open } from 'lmdb';

const [path = ''] = process.argv.slice(2);
const root = open({ path, noSubdir: true, overlappingSync: false, maxDbs: 64, readOnly: true });
const transaction = root.useReadTransaction();
process.stdout.write('reading\n');
setInterval(() => transaction, 1_000_000);
