// A process of its own, which opens one LMDB and closes it: opening lets LMDB clear the slots of dead readers.
import { errorText } from '../../protocol/errors.ts';
import { Environment, type EnvironmentOptions } from '../lmdb/environment.ts';
import { EXIT_SAME_PID, lockPathOf, readReaderPids } from './lock-table.ts';

const options = JSON.parse(process.argv[2] ?? '') as EnvironmentOptions;
if (readReaderPids(lockPathOf(options)).includes(process.pid)) {
  // Closing would free the slot of the other process.
  process.exitCode = EXIT_SAME_PID;
} else {
  try {
    const environment = Environment.open({ ...options, create: false });
    void environment.close();
  } catch (error) {
    process.stderr.write(`${errorText(error)}\n`);
    process.exitCode = 1;
  }
}
