import { spawn } from 'node:child_process';
import { SyncError } from '../../protocol/errors.ts';
import type { Changes } from './changes.ts';

/** What a command said last that goes into the log. */
const STDERR_BYTES = 1000;

/**
 * Runs a program, without a shell, and waits for its end. It finds the names of the databases that changed in
 * LIGHTNINGSTREAM_DATABASES, with spaces between. When `signal` aborts, it and its children are killed.
 * Rejects, with the end of what it wrote to stderr, unless it exits with 0.
 */
export async function runCommand(
  command: readonly string[],
  changes: Changes,
  signal: AbortSignal,
): Promise<void> {
  const [program = '', ...args] = command;
  // A group of its own, so that what it has started ends with it.
  const child = spawn(program, args, {
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
    env: { ...process.env, LIGHTNINGSTREAM_DATABASES: [...changes.keys()].join(' ') },
  });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-STDERR_BYTES);
  });
  const kill = () => {
    try {
      if (child.pid !== undefined) {
        process.kill(-child.pid, 'SIGKILL');
      }
    } catch {
      // It has just ended.
    }
  };
  signal.addEventListener('abort', kill, { once: true });
  try {
    const { code, endedBy } = await new Promise<Outcome>((resolve, reject) => {
      child.once('error', (cause) =>
        reject(failed(`cannot run ${program}: ${cause.message}`, cause)),
      );
      // Not "close": a child that goes on in the background may keep stderr open.
      child.once('exit', (code, endedBy) => resolve({ code, endedBy }));
    });
    if (signal.aborted) {
      throw failed(`${program} was ended, it took too long${quoted(said)}`);
    }
    if (code !== 0) {
      throw failed(`${program} ended with ${endedBy ?? `exit code ${code}`}${quoted(said)}`);
    }
  } finally {
    signal.removeEventListener('abort', kill);
    child.stderr.destroy();
  }
}

type Outcome = { readonly code: number | null; readonly endedBy: NodeJS.Signals | null };

function quoted(said: string): string {
  const line = said.trim().split('\n').at(-1) ?? '';
  return line === '' ? '' : `: ${line}`;
}

function failed(message: string, cause?: unknown): SyncError {
  return new SyncError('HOOK_FAILED', message, {
    hint: 'Try the command by hand, as the user of the agent.',
    retryable: true,
    cause,
  });
}
