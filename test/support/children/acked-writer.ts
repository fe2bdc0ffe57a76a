// An application that says what it is about to write and what is committed, and may be killed at any moment:
//   tsx acked-writer.ts FILE SCHEMA NAME FROM PAUSE_MS
// SCHEMA is native or shadow. Its keys begin with NAME; write number N, from FROM on, is told by "i N KEY TIME VALUE"
// before and "a N" behind the commit; VALUE is missing for a delete.
import { writeSync } from 'node:fs';
import { Application, wallClockNs } from '../../../demo/application.ts';
import { PlainApplication } from '../shadow.ts';

const DBI = 'records';
const [file = '', schema = '', name = '', from = '0', pauseMs = '3'] = process.argv.slice(2);
const native = schema === 'native' ? Application.open(file) : undefined;
const plain = schema === 'native' ? undefined : new PlainApplication(file);
plain?.create(DBI, 0);
let count = Number(from);

/** Synchronous: what is said is in the pipe before the next step. */
const say = (line: string) => writeSync(1, `${line}\n`);

function writeOne(): void {
  count += 1;
  const key = `${name}-${count % 150}`;
  const value = count % 7 === 0 ? undefined : `${name} wrote ${count}`;
  const timestampNs = wallClockNs();
  say(`i ${count} ${key} ${timestampNs} ${value ?? ''}`.trimEnd());
  if (native !== undefined) {
    native.write([{ key, value }], { timestampNs });
  } else if (value !== undefined) {
    plain?.put(DBI, key, value);
  } else {
    plain?.remove(DBI, key);
  }
  say(`a ${count}`);
}

say('ready');
setInterval(writeOne, Number(pauseMs));
