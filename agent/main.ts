import { setMaxListeners } from 'node:events';
import { errorText, SyncError } from '../protocol/errors.ts';
import { runCli } from './cli/cli.ts';
import { NO_PID_CHECK, runWithHigherPid } from './cli/minimum-pid.ts';
import { silenceSdkWarning } from '../storage/sdk-warning.ts';

const EXIT_FAILED = 1;
const EXIT_TIMED_OUT = 75;
const EXIT_SIGNALS = { SIGINT: 130, SIGTERM: 143 } as const;

/** Set by the bundler from package.json. */
const VERSION = process.env['LIGHTNINGSTREAM_VERSION'] ?? 'development';

async function main(): Promise<number> {
  silenceSdkWarning();
  // Dozens of databases wait on one signal in several places each; Node takes more than ten listeners for a leak.
  setMaxListeners(1000);
  const stop = new AbortController();
  let signalCode: number | undefined;
  for (const name of ['SIGTERM', 'SIGINT'] as const) {
    process.on(name, () => {
      // The first asks for a clean end; whoever asks twice does not want to wait.
      if (stop.signal.aborted) {
        exit(EXIT_SIGNALS[name]);
      }
      signalCode = EXIT_SIGNALS[name];
      stop.abort(new SyncError('USAGE', `stopped by ${name}`));
    });
  }
  process.stdout.on('error', (error) => exit(isClosedPipe(error) ? 0 : EXIT_FAILED));
  try {
    return await runCli(process.argv.slice(2), {
      stdout: { write: writeOut },
      stderr: process.stderr,
      terminal: process.stderr,
      stdoutIsTerminal: process.stdout.isTTY,
      version: VERSION,
      signal: stop.signal,
      now: Date.now,
      pid: process.pid,
      runWithHigherPid: process.env[NO_PID_CHECK] === '1' ? undefined : runWithHigherPid,
      runAgent: async (config, options) => {
        const { runAgent } = await import('./agent.ts');
        await runAgent(config, options);
      },
    });
  } catch (error) {
    if (signalCode !== undefined && error === stop.signal.reason) {
      return signalCode;
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
  if (error instanceof SyncError) {
    process.stderr.write(`Error: ${error.message}\n`);
    if (error.hint !== undefined) {
      process.stderr.write(`Try: ${error.hint}\n`);
    }
    return;
  }
  // Not one of ours: a bug, and its trace is what a report needs.
  const trace = error instanceof Error ? (error.stack ?? error.message) : errorText(error);
  process.stderr.write(`Error: ${trace}\n`);
}

function exit(code: number): never {
  process.exit(code);
}

void main().then(async (code) => {
  // What is still on its way to a slow reader goes first, unless there is a hurry.
  if (code === 0 || code === EXIT_FAILED) {
    await Promise.allSettled([written(process.stdout, ''), written(process.stderr, '')]);
  }
  exit(code);
});
