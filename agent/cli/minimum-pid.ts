import { spawn, spawnSync } from 'node:child_process';
import { constants } from 'node:os';
import { errorText, SyncError } from '../../protocol/errors.ts';

/** Upstream caps the lowest process id at this. */
export const MAX_MINIMUM_PID = 200;
/** Set to 1 for the process that was started to have a higher id: it is not looked at again. */
export const NO_PID_CHECK = 'LIGHTNINGSTREAM_NO_PID_CHECK';

/** Those that tell a process something; the others end it or cannot be caught. */
const FORWARDED = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const;

/**
 * Runs this command line again in a child whose process id is `minimumPid` at least, with the same input and output, and
 * resolves with its exit code. Signals go to the child, which ends as it would have here; upstream leaves it behind.
 *
 * A new process id name space counts from 1, so ids are used up by starting a program that does not exist.
 */
export async function runWithHigherPid(minimumPid: number): Promise<number> {
  const lowest = Math.min(minimumPid, MAX_MINIMUM_PID);
  for (let pid = process.pid; pid < lowest; pid++) {
    spawnSync('/nonexistent/lightningstream');
  }
  const [script = '', ...args] = process.argv.slice(1);
  const child = spawn(process.execPath, [...process.execArgv, script, ...args], {
    stdio: 'inherit',
    env: { ...process.env, [NO_PID_CHECK]: '1' },
    // Control-C reaches a whole group; the child would have it twice, and the second one means "at once".
    detached: true,
  });
  for (const name of FORWARDED) {
    process.removeAllListeners(name);
    process.on(name, () => child.kill(name));
  }
  return new Promise((resolve, reject) => {
    child.on('error', (error) => {
      reject(
        new SyncError('USAGE', `cannot start ${process.execPath} again: ${errorText(error)}`, {
          hint: 'Leave out --minimum-pid, and let the containers share the process id name space.',
          cause: error,
        }),
      );
    });
    child.on('exit', (code, signal) => {
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
    });
  });
}
