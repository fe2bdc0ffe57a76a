import { errorText, SyncError } from '../protocol/errors.ts';
import { runCli } from './cli.ts';

const EXIT_FAILED = 1;
const EXIT_TIMED_OUT = 75;
const EXIT_SIGNALS = { SIGINT: 130, SIGTERM: 143 } as const;

/** Set by the bundler from package.json. */
const VERSION = process.env['LIGHTNINGSTREAM_VERSION'] ?? 'development';

async function main(): Promise<number> {
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
  // `lightningstream dump | head`: nobody reads any more, which is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) =>
    exit(error.code === 'EPIPE' ? 0 : EXIT_FAILED),
  );
  try {
    await runCli(process.argv.slice(2), {
      stdout: process.stdout,
      stderr: process.stderr,
      version: VERSION,
      signal: stop.signal,
      now: Date.now,
      pid: process.pid,
      runAgent: async (config, options) => {
        const { runAgent } = await import('./agent.ts');
        await runAgent(config, options);
      },
    });
    return 0;
  } catch (error) {
    if (signalCode !== undefined && error === stop.signal.reason) {
      return signalCode;
    }
    printError(error);
    return error instanceof SyncError && error.code === 'TIMED_OUT' ? EXIT_TIMED_OUT : EXIT_FAILED;
  }
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

void main().then(exit);
