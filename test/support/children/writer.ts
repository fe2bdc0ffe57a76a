// An application that writes for as long as it lives, one record per transaction:
//   tsx writer.ts FILE NAME PAUSE_MS
// Its own keys begin with NAME; every fifth write goes to a key that all writers share. On SIGTERM it
// prints the last write of each key as JSON and ends.
import { Application, wallClockNs } from '../../../demo/application.ts';

const [file = '', name = '', pauseMs = '5'] = process.argv.slice(2);
const application = Application.open(file);
const last: Record<string, { timestampNs: string; value: string | undefined }> = {};
let count = 0;

function writeOne(): void {
  count++;
  const key = count % 5 === 0 ? `shared-${count % 50}` : `${name}-${count % 200}`;
  // Every seventh write of a key is a delete.
  const value = count % 7 === 0 ? undefined : `${name} wrote ${count}`;
  const timestampNs = wallClockNs();
  application.write([{ key, value }], { timestampNs });
  last[key] = { timestampNs: String(timestampNs), value };
}

const timer = setInterval(writeOne, Number(pauseMs));
process.once('SIGTERM', () => {
  clearInterval(timer);
  process.stdout.write(JSON.stringify(last));
  application[Symbol.dispose]();
});
process.stdout.write('\n');
