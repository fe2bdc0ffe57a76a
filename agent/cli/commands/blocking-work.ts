import { setImmediate } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { formatGoDuration, timerMs } from '../../../protocol/time.ts';
import type { CommandContext } from './context.ts';

/** The ordinary end of `--timeout` goes first: it has a better message, and exit code 75. */
const GRACE_MS = 1000;

/**
 * To be called before LMDB is opened on the main thread. It takes the write lock, for as long as another program
 * holds it, and meanwhile this thread hears neither of signals nor of timers. So the kernel ends the process at a
 * signal, and another thread ends it when `--timeout` has passed.
 */
export async function beginBlockingWork({ deps, flags, signal }: CommandContext): Promise<void> {
  if (deps.signals === undefined) {
    return;
  }
  // A signal that has come already is heard of in this turn, and not at all once nobody listens.
  await setImmediate();
  deps.signals.letKernelEnd();
  signal.throwIfAborted();
  if (flags.timeout > 0) {
    const message = `Error: not done after ${formatGoDuration(flags.timeout)}: it waits for the write lock of an LMDB, which another program holds\n`;
    const workerData = { message, afterMs: timerMs(flags.timeout + GRACE_MS) };
    new Worker(WATCH, { eval: true, workerData, name: 'timeout' }).unref();
  }
}

// Output of a thread goes through the main thread, unless it is written to the descriptor itself.
const WATCH = `
const { workerData } = require('node:worker_threads');
const { writeSync } = require('node:fs');
setTimeout(() => {
  writeSync(2, workerData.message);
  process.kill(process.pid, 'SIGTERM');
}, workerData.afterMs);
`;
