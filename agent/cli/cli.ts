import { Argument, Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { errorText, SyncError } from '../../protocol/errors.ts';
import { formatGoDuration, parseGoDuration } from '../../protocol/time.ts';
import { addDatabaseCommands, type Run } from './database-commands.ts';
import { compact, type CompactFlags } from './commands/compact.ts';
import {
  openContext,
  type CliDeps,
  type CommandContext,
  type GlobalFlags,
} from './commands/context.ts';
import { printDocs } from './commands/docs.ts';
import { snapshotsDump, type SnapshotsDumpFlags } from './commands/snapshots-dump.ts';
import { snapshotsGet } from './commands/snapshots-get.ts';
import { snapshotsList, type SnapshotsListFlags } from './commands/snapshots-list.ts';
import { snapshotsPut, type SnapshotsPutFlags } from './commands/snapshots-put.ts';
import { snapshotsRemove } from './commands/snapshots-remove.ts';
import { runSync, type SyncFlags } from './commands/sync.ts';
import { printVersion } from './commands/version.ts';
import { nearest } from '../config/suggest.ts';
import type { LastTrouble } from '../log/last-trouble.ts';
import { unfinished } from '../pacing/unfinished.ts';
import { MAX_MINIMUM_PID } from './minimum-pid.ts';
import { completionScript, SHELLS, type Shell } from './completion.ts';

/** How long a command may take to end after `--timeout` has passed. */
const TIMEOUT_GRACE_MS = 15_000;

/**
 * Runs one command line (without node and script). Resolves with the exit code when it is done.
 * Errors: USAGE for unknown commands and flags, TIMED_OUT, and those of the command.
 */
export async function runCli(args: readonly string[], deps: CliDeps): Promise<number> {
  let exitCode = 0;
  const program = buildProgram(deps, async (command, work) => {
    exitCode = await runCommand(command, deps, work);
  });
  try {
    await program.parseAsync(args, { from: 'user' });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0 || error.code === 'commander.help') {
        return 0;
      }
      throw usageError(error);
    }
    throw error;
  }
}

async function runCommand(
  command: Command,
  deps: CliDeps,
  work: (context: CommandContext) => Promise<void>,
): Promise<number> {
  const flags: GlobalFlags = command.optsWithGlobals();
  if (deps.runWithHigherPid !== undefined && isBelow(deps.pid, flags.minimumPid)) {
    return deps.runWithHigherPid(flags.minimumPid);
  }
  const timeout = new AbortController();
  const signal = AbortSignal.any([deps.signal, timeout.signal]);
  const context = openContext(deps, flags, signal);
  if (!takesHangup(command)) {
    deps.signals?.endOnHangup();
  }
  const running = workAndDrain(context, work);
  if (flags.timeout <= 0) {
    await running;
    return 0;
  }
  let timer: NodeJS.Timeout | undefined;
  const expired = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const error = timedOut(flags.timeout, context.trouble);
      timeout.abort(error);
      timer = setTimeout(() => reject(error), TIMEOUT_GRACE_MS);
    }, flags.timeout);
  });
  try {
    await Promise.race([running, expired]);
  } catch (error) {
    timeout.signal.throwIfAborted();
    throw error;
  } finally {
    clearTimeout(timer);
  }
  timeout.signal.throwIfAborted();
  return 0;
}

/** With the reason: what failed last, else what is still waited for. */
function timedOut(timeoutMs: number, trouble: LastTrouble): SyncError {
  const waiting = unfinished.describe();
  const reason = trouble.describe() ?? (waiting && `it waits for ${waiting}`);
  const why = reason === undefined ? '' : `: ${reason}`;
  return new SyncError('TIMED_OUT', `not done after ${formatGoDuration(timeoutMs)}${why}`, {
    hint: 'Remove the cause, or give it more time with --timeout.',
  });
}

/** Commands that run until they are stopped read the configuration again at SIGHUP. */
function takesHangup(command: Command): boolean {
  return ['sync', 'receive'].includes(command.name());
}

/** A low id may equal that of the application in its own container: LMDB's reader table would mix them up. */
function isBelow(pid: number, minimumPid: number): boolean {
  return pid < Math.min(minimumPid, MAX_MINIMUM_PID);
}

async function workAndDrain(
  context: CommandContext,
  work: (context: CommandContext) => Promise<void>,
): Promise<void> {
  try {
    await work(context);
  } finally {
    // Also what was printed before an error: it says how far it went.
    await context.out.drain();
  }
}

/** The whole command tree. */
export function buildProgram(deps: CliDeps, run: Run): Command {
  const program = new Command('lightningstream');
  program
    .description('Keeps the LMDBs of many hosts equal through one storage, in near real time.')
    .version(`lightningstream version ${deps.version}`, '-v, --version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .helpCommand(false)
    .showSuggestionAfterError(true);
  addGlobalFlags(program);
  addSyncCommands(program, run);
  addDatabaseCommands(program, run);
  addCompactCommand(program, run);
  addSnapshotCommands(program, run);
  addInfoCommands(program, deps);
  return quiet(program, deps);
}

function addGlobalFlags(program: Command): void {
  program
    .option('-c, --config <file>', 'configuration file', 'lightningstream.yaml')
    .option('-i, --instance <name>', 'instance name; overrides `instance`', '')
    .option('--debug', 'log level debug', false)
    .option('--log-level <level>', 'overrides `log.level`', '')
    .option('--log-format <format>', 'overrides `log.format`', '')
    .option('--log-timestamp <kind>', 'overrides `log.timestamp`', '')
    .option('--log-config', 'log the effective configuration, secrets masked', false)
    .addOption(
      new Option('--minimum-pid <n>', 'run in a process with at least this id, up to 200')
        .argParser(parseCount)
        .default(0, ''),
    )
    .addOption(
      new Option('--timeout <duration>', 'give up after that long, with exit code 75')
        .argParser(parseTimeout)
        .default(0, ''),
    );
}

function addSyncCommands(program: Command, run: Run): void {
  const commands = [
    ['sync', 'Run two-way sync: send local changes, merge those of others.', false],
    ['receive', 'Merge the changes of others, never send any.', true],
  ] as const;
  for (const [name, description, receiveOnly] of commands) {
    const command = program
      .command(name)
      .description(description)
      .option('--only-once', 'sync once, then exit', false);
    if (receiveOnly) {
      const help = 'with --only-once: do nothing where every LMDB has data already';
      command.option('--only-if-empty', help, false);
    }
    command
      .option('--wait-for-marker-file <name>', 'wait until the storage has this object', '')
      .option('--only-db <name>', 'only this database; repeatable', collect, [])
      .action((_flags: unknown, given: Command) =>
        run(given, (context) => runSync(context, { ...given.opts<SyncFlags>(), receiveOnly })),
      );
  }
}

function addCompactCommand(program: Command, run: Run): void {
  program
    .command('compact')
    .description(
      'Fold the objects in the storage into one base per database, delete what it covers.',
    )
    .option('--only-db <name>', 'only this database; repeatable', collect, [])
    .option('--dry-run', 'print what would be done, change nothing', false)
    .option('--json', 'one JSON object per database', false)
    .action((flags: CompactFlags, command: Command) =>
      run(command, (context) => compact(context, flags)),
    );
}

function addSnapshotCommands(program: Command, run: Run): void {
  const snapshots = program
    .command('snapshots')
    .description('Work with the objects in the storage.');
  snapshots
    .command('list')
    .description('List names.')
    .option('-p, --prefix <prefix>', 'only names that begin so', '')
    .option('-l, --long', 'with sizes', false)
    .option('-t, --time', 'sort by time', false)
    .option('--json', 'one JSON object per name', false)
    .action((flags: SnapshotsListFlags, command: Command) =>
      run(command, (context) => snapshotsList(context, flags)),
    );
  snapshots
    .command('get')
    .description('Download an object.')
    .argument('<name>', 'its name')
    .option('-o, --output <file>', 'where to; default: its name', '')
    .action((name: string, flags: { readonly output: string }, command: Command) =>
      run(command, (context) => snapshotsGet(context, name, flags)),
    );
  snapshots
    .command('put')
    .description('Upload a file.')
    .argument('<file>', 'the file')
    .option('-n, --name <name>', 'name in the storage; default: that of the file', '')
    .option('--force', 'accept a name that does not parse', false)
    .action((file: string, flags: SnapshotsPutFlags, command: Command) =>
      run(command, (context) => snapshotsPut(context, file, flags)),
    );
  snapshots
    .command('dump')
    .description('Print what is in an object.')
    .argument('<name>', 'its name, or that of a local file')
    .option('-l, --local', 'a local file', false)
    .option('-d, --dbi <dbi>', 'only this DBI', '')
    .option('-f, --format <format>', 'debug or text (the same)', 'debug')
    .option('--json', 'one JSON object per line: the head, each DBI, each entry', false)
    .action((name: string, flags: SnapshotsDumpFlags, command: Command) =>
      run(command, (context) => snapshotsDump(context, name, flags)),
    );
  snapshots
    .command('remove')
    .description('Delete an object; no error if it is gone.')
    .argument('<name>', 'its name')
    .action((name: string, _flags: unknown, command: Command) =>
      run(command, (context) => snapshotsRemove(context, name)),
    );
}

function addInfoCommands(program: Command, deps: CliDeps): void {
  program
    .command('help')
    .description('Print help for a command.')
    .argument('[command...]', 'its words, as in `help snapshots list`')
    .action((words: readonly string[]) => findCommand(program, words).outputHelp());
  program
    .command('version')
    .description('Print the version only.')
    .action(() => printVersion(deps));
  program
    .command('completion')
    .description('Print a completion script for a shell.')
    .addArgument(new Argument('<shell>', 'the shell').choices(SHELLS))
    .action((shell: Shell) => {
      deps.stdout.write(completionScript(program, shell));
    });
  program
    .command('docs')
    .description('Print the reference as Markdown.')
    .addArgument(
      new Argument('[topic]', 'what about')
        .choices(['commands', 'configuration'])
        .default('commands'),
    )
    .action((topic: 'commands' | 'configuration') => printDocs(deps, program, topic));
}

/** The command that the words name. Errors: USAGE. */
function findCommand(program: Command, words: readonly string[]): Command {
  let command = program;
  for (const word of words) {
    const found = command.commands.find((sub) => sub.name() === word);
    if (found === undefined) {
      const near = nearest(
        word,
        command.commands.map((sub) => sub.name()),
      );
      throw new SyncError('USAGE', `unknown command '${words.join(' ')}'`, {
        hint: near === undefined ? 'lightningstream --help' : `did you mean ${near}?`,
      });
    }
    command = found;
  }
  return command;
}

/** A flag's help text; a default only where it says something. */
function describeOption(option: Option): string {
  const fallback: unknown = option.defaultValue;
  return typeof fallback === 'string' && fallback !== ''
    ? `${option.description} (default: ${fallback})`
    : option.description;
}

/** No output and no exit by commander itself: help goes to our output, errors are thrown. */
function quiet(command: Command, deps: CliDeps): Command {
  command.exitOverride().helpCommand(false).configureHelp({ optionDescription: describeOption });
  command.configureOutput({
    writeOut: (text) => {
      deps.stdout.write(text);
    },
    writeErr: (text) => {
      deps.stdout.write(text);
    },
    outputError: () => {},
  });
  command.commands.forEach((sub) => quiet(sub, deps));
  return command;
}

function usageError(error: CommanderError): SyncError {
  const [first = '', ...rest] = error.message.replace(/^error: /, '').split('\n');
  const suggestion = /\(Did you mean (.+)\?\)/.exec(rest.join(' '))?.[1];
  return new SyncError('USAGE', first, {
    hint: suggestion === undefined ? 'lightningstream --help' : `did you mean ${suggestion}?`,
  });
}

function collect(value: string, previous: readonly string[]): string[] {
  return [...previous, value];
}

function parseCount(text: string): number {
  if (!/^\d{1,9}$/.test(text)) {
    throw new InvalidArgumentError('It must be a whole number.');
  }
  return Number(text);
}

function parseTimeout(text: string): number {
  try {
    return parseGoDuration(text);
  } catch (error) {
    throw new InvalidArgumentError(errorText(error));
  }
}
