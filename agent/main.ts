import { setMaxListeners } from 'node:events';
import { errorText, SyncError } from '../protocol/errors.ts';
import { runCli } from './cli/cli.ts';
import { NO_PID_CHECK, runWithHigherPid } from './cli/minimum-pid.ts';
import { isThreadAtWork } from './lmdb/thread/worker-client.ts';
import { endBySignal, ProcessSignals, SIGNAL_CODES, type EndingSignal } from './process/signals.ts';
import { silenceSdkWarning } from '../storage/sdk-warning.ts';

const EXIT_FAILED = 1;
const EXIT_TIMED_OUT = 75;
/** What a thread does besides waiting for the write lock is done after that long, or goes on for much longer. */
const THREAD_REST_MS = 1000;
const LOOK_MS = 10;

/** Set by the bundler from package.json. */
const VERSION = process.env['LIGHTNINGSTREAM_VERSION'] ?? 'development';

/**
 * Runs the command line of this process and ends it. `release` hands over the signals that came while this was
 * loaded; they are carried out as if they came now.
 */
export function start(release: () => readonly NodeJS.Signals[]): void {
  const signals = new ProcessSignals();
  release().forEach((signal) => process.emit(signal));
  void main(signals).then(async (code) => {
    // What is still on its way to a slow reader goes first, unless there is a hurry.
    if (code === 0 || code === EXIT_FAILED) {
      await Promise.allSettled([written(process.stdout, ''), written(process.stderr, '')]);
    }
    if (signals.hasLostTerminal) {
      // Node gives a terminal its settings back at its end, and aborts where there is none any more.
      endBySignal('SIGHUP');
    }
    exit(code);
  });
}

async function main(signals: ProcessSignals): Promise<number> {
  silenceSdkWarning();
  // Dozens of databases wait on one signal in several places each; Node takes more than ten listeners for a leak.
  setMaxListeners(1000);
  process.stdout.on('error', (error) => {
    // A closed terminal is no reason to cut the clean end short that its SIGHUP has begun.
    if (!signals.hasLostTerminal) {
      exit(isClosedPipe(error) ? 0 : EXIT_FAILED);
    }
  });
  // Where nobody reads the log any more syncing goes on.
  process.stderr.on('error', () => undefined);
  signals.endAtOnce = endAtOnce;
  process.on('uncaughtException', (error, origin) => {
    printBug(error, origin);
    exit(EXIT_FAILED);
  });
  try {
    return await runCli(process.argv.slice(2), {
      stdout: { write: writeOut },
      stderr: process.stderr,
      terminal: process.stderr,
      stdoutIsTerminal: process.stdout.isTTY,
      version: VERSION,
      signal: signals.stop,
      signals,
      now: Date.now,
      pid: process.pid,
      runWithHigherPid: process.env[NO_PID_CHECK] === '1' ? undefined : runWithHigherPid,
      runAgent: async (config, options) => {
        const { runAgent } = await import('./agent.ts');
        await runAgent(config, options);
      },
    });
  } catch (error) {
    const { exitCode, stop } = signals;
    if (exitCode !== undefined && error === stop.reason) {
      return exitCode;
    }
    if (isClosedPipe(error)) {
      return 0;
    }
    printError(error);
    return error instanceof SyncError && error.code === 'TIMED_OUT' ? EXIT_TIMED_OUT : EXIT_FAILED;
  }
}

/** Resolves when the text has left this process; without waiting, `process.exit` would cut it off. */
function written(stream: NodeJS.WriteStream, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(text, (error) => (error ? reject(error) : resolve()));
  });
}

/** Help and version do not wait: their failure is the stream's, which ends the process. */
function writeOut(text: string): Promise<void> {
  const done = written(process.stdout, text);
  done.catch(() => undefined);
  return done;
}

/** `lightningstream dump | head`: nobody reads any more, which is no error. */
function isClosedPipe(error: unknown): boolean {
  return error instanceof Error && (error as NodeJS.ErrnoException).code === 'EPIPE';
}

function printError(error: unknown): void {
  if (!(error instanceof SyncError)) {
    printBug(error, 'error');
    return;
  }
  process.stderr.write(`Error: ${error.message}\n`);
  if (error.hint !== undefined) {
    process.stderr.write(`Try: ${error.hint}\n`);
  }
}

/** Not one of ours: one line that says where it was, and the trace that a report needs. */
function printBug(error: unknown, origin: string): void {
  const [, first = '', ...more] = error instanceof Error ? (error.stack ?? '').split('\n    ') : [];
  process.stderr.write(
    `Error: this is a bug (${origin}): ${errorText(error).replaceAll('\n', ' ')} ${first}\n` +
      more.map((line) => `    ${line}\n`).join('') +
      'Try: report it with these lines, and start the agent again.\n',
  );
}

function endAtOnce(signal: EndingSignal): void {
  process.stderr.write(`ended at once by a second ${signal}, without the clean end\n`);
  if (isThreadAtWork()) {
    endBySignal(signal);
  }
  process.exit(SIGNAL_CODES[signal]);
}

/**
 * Ends the process, with this code unless a thread waits inside LMDB for the write lock: `process.exit` would wait
 * with it for minutes. Then it is a signal, one that stands for a failure where the code does.
 */
function exit(code: number, waitedMs = 0): void {
  if (!isThreadAtWork()) {
    process.exit(code);
  }
  if (waitedMs < THREAD_REST_MS) {
    setTimeout(() => exit(code, waitedMs + LOOK_MS), LOOK_MS);
    return;
  }
  endBySignal(code === EXIT_FAILED ? 'SIGKILL' : 'SIGTERM');
}
