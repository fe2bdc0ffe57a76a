import { setImmediate } from 'node:timers/promises';
import { SyncError } from '../../../protocol/errors.ts';
import type { ObjectStore } from '../../../storage/object-store.ts';
import {
  loadConfig,
  type Config,
  type ParsedConfig,
  type StorageConfig,
} from '../../config/config.ts';
import { formatEffectiveConfig } from '../../config/effective.ts';
import { LastTrouble } from '../../log/last-trouble.ts';
import { createLogger, type ConfigurableLogger, type LogStream } from '../../log/log.ts';
import type { RunOptions } from '../../agent.ts';
import { openObjectStore } from '../../open-store.ts';
import type { SignalSource } from '../../process/signals.ts';
import { Progress, type ProgressOptions, type ProgressTerminal } from './progress.ts';

/** What the commands need from outside; tests give their own. */
export type CliDeps = {
  readonly stdout: TextSink;
  readonly stderr: LogStream;
  /** Where progress bars go, if it is a terminal; undefined: nowhere. */
  readonly terminal?: ProgressTerminal | undefined;
  /** The output goes to the terminal, too, and would be mixed with a bar. */
  readonly stdoutIsTerminal?: boolean | undefined;
  readonly version: string;
  /** Aborts when the process is asked to end. */
  readonly signal: AbortSignal;
  /** Signals that ask for something else than the end. */
  readonly signals?: SignalSource | undefined;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly pid: number;
  /** Runs the command line in a process with at least that id, and gives its exit code; undefined: this is it. */
  readonly runWithHigherPid?: ((minimumPid: number) => Promise<number>) | undefined;
  readonly runAgent: (config: Config, options: RunOptions) => Promise<void>;
};

/** Where the output of a command goes. A promise resolves when the text is on its way, rejects when nobody reads it. */
export interface TextSink {
  write(text: string): unknown;
}

/** Flags that every command knows. */
export type GlobalFlags = {
  readonly config: string;
  readonly instance: string;
  readonly debug: boolean;
  readonly logLevel: string;
  readonly logFormat: string;
  readonly logTimestamp: string;
  readonly logConfig: boolean;
  readonly minimumPid: number;
  /** Milliseconds; 0: no limit. */
  readonly timeout: number;
};

/** What one run of one command works with. */
export type CommandContext = {
  readonly deps: CliDeps;
  readonly flags: GlobalFlags;
  readonly config: Config;
  readonly log: ConfigurableLogger;
  /** Reads the configuration again, with the same flags. Errors: CONFIG_INVALID. */
  readonly reload: () => ParsedConfig;
  /** The last thing that did not work, for whoever ends this command before it is done. */
  readonly trouble: LastTrouble;
  /** Aborts at the process' end and when `--timeout` passes. */
  readonly signal: AbortSignal;
  /** Standard output, in blocks. */
  readonly out: BufferedOutput;
};

/** Upstream's fixed time limit of all `snapshots` commands; a longer `--timeout` replaces it. */
const STORAGE_COMMAND_MS = 60_000;
const BLOCK_CHARACTERS = 64 * 1024;

/**
 * Collects small writes and hands them on in blocks. Whoever writes much waits for {@link drain} where
 * {@link isFull} says so: a pipe takes 64 KB at a time, and what it does not take stays in memory.
 */
export class BufferedOutput {
  readonly #sink: TextSink;
  #pending = '';

  constructor(sink: TextSink) {
    this.#sink = sink;
  }

  get isFull(): boolean {
    return this.#pending.length >= BLOCK_CHARACTERS;
  }

  write(text: string): void {
    this.#pending += text;
  }

  /** Resolves when everything written is on its way; signals and time limits are noticed meanwhile. */
  async drain(): Promise<void> {
    const text = this.#pending;
    this.#pending = '';
    if (text !== '') {
      await this.#sink.write(text);
    }
    await setImmediate();
  }
}

/** Loads the configuration and prepares what a command needs. Errors: CONFIG_INVALID. */
export function openContext(
  deps: CliDeps,
  flags: GlobalFlags,
  signal: AbortSignal,
): CommandContext {
  const reload = () =>
    loadConfig(flags.config, {
      instance: flags.instance,
      logLevel: flags.debug ? 'debug' : flags.logLevel,
      logFormat: flags.logFormat,
      logTimestamp: flags.logTimestamp,
    });
  const { config, warnings } = reload();
  const trouble = new LastTrouble(deps.now);
  const log = createLogger(config.log, {
    stream: deps.stderr,
    now: deps.now,
    onTrouble: (fields, text) => trouble.note(fields, text),
  });
  for (const warning of warnings) {
    log.warn({}, warning);
  }
  if (flags.logConfig) {
    log.info({}, `Effective configuration:\n${formatEffectiveConfig(config)}`);
  }
  const out = new BufferedOutput(deps.stdout);
  return { deps, flags, config, log, reload, trouble, signal, out };
}

/** A bar for a command that prints what it reads: the output itself shows how far it is where it can be seen. */
export function dumpProgress({ deps }: CommandContext, options: ProgressOptions): Progress {
  return new Progress(deps.stdoutIsTerminal === true ? undefined : deps.terminal, options);
}

/** Opens the storage for one command, closes it afterwards, and limits the time of both. */
export async function withStorage<T>(
  context: CommandContext,
  work: (store: ObjectStore, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const limit = context.flags.timeout > 0 ? undefined : AbortSignal.timeout(STORAGE_COMMAND_MS);
  const signal = limit === undefined ? context.signal : AbortSignal.any([context.signal, limit]);
  const storage: StorageConfig = context.config.storage;
  try {
    const store = await openObjectStore(storage, { signal });
    try {
      return await work(store, signal);
    } finally {
      await store.close();
    }
  } catch (error) {
    if (limit?.aborted === true && !context.signal.aborted) {
      throw new SyncError('STORAGE_FAILED', 'the storage took longer than 1m', {
        hint: 'Give the command more time with --timeout, as in --timeout 10m.',
        cause: error,
      });
    }
    throw error;
  }
}
