import { pino } from 'pino';
import type { LogConfig } from '../config/config.ts';
import { formatLogLine, type LogLevel } from './format.ts';

/** A field's value: keys, names, sizes and times; never an application's value, never a secret. */
type LogValue = string | number | bigint | boolean | undefined;
export type LogFields = Readonly<Record<string, LogValue>>;

/** Where the agent says what it does. Fields come first, so that they are never forgotten. */
export interface Logger {
  debug(fields: LogFields, text: string): void;
  info(fields: LogFields, text: string): void;
  warn(fields: LogFields, text: string): void;
  error(fields: LogFields, text: string): void;
  /** A logger whose entries all have these fields. */
  child(fields: LogFields): Logger;
}

/** The logger that all others are children of. */
export interface ConfigurableLogger extends Logger {
  /** From now on level and format are these, in all children too. */
  configure(config: LogConfig): void;
}

/** Where lines go: standard error, or a test's buffer. */
export interface LogStream {
  write(line: string): unknown;
  readonly isTTY?: boolean | undefined;
}

export type LogDeps = {
  readonly stream?: LogStream | undefined;
  /** Milliseconds since the epoch. */
  readonly now?: (() => number) | undefined;
  /** Hears every warning and error, also those that the level hides. */
  readonly onTrouble?: ((fields: LogFields, text: string) => void) | undefined;
};

type PinoLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal';

const PINO_LEVELS: Readonly<Record<LogConfig['level'], PinoLevel>> = {
  trace: 'trace',
  debug: 'debug',
  info: 'info',
  warn: 'warn',
  warning: 'warn',
  error: 'error',
  fatal: 'fatal',
  panic: 'fatal',
};
const UPSTREAM_LEVELS: Readonly<Record<number, LogLevel>> = {
  10: 'trace',
  20: 'debug',
  30: 'info',
  40: 'warning',
  50: 'error',
  60: 'fatal',
};

/** A logger that writes upstream's formats: see `format.ts`. */
export function createLogger(config: LogConfig, deps: LogDeps = {}): ConfigurableLogger {
  const stream = deps.stream ?? process.stderr;
  const now = deps.now ?? Date.now;
  const fixed = { terminal: stream.isTTY === true, startMs: now() };
  let options = { ...fixed, format: config.format, timestamp: config.timestamp };
  const gate: Gate = { lowest: levelNumber(config), onTrouble: deps.onTrouble };
  const core = pino(
    {
      // What is shown is decided by the gate: pino's children keep the level that they were made with.
      level: 'trace',
      base: null,
      timestamp: () => `,"time":${now()}`,
    },
    {
      // pino decides what is logged and merges the fields of children; upstream's line formats are not its own.
      write(line: string) {
        const { time, level, msg, ...fields } = JSON.parse(line) as PinoLine;
        const record = {
          timeMs: time,
          level: UPSTREAM_LEVELS[level] ?? 'info',
          text: msg ?? '',
          fields,
        };
        stream.write(`${formatLogLine(record, options)}\n`);
      },
    },
  );
  return {
    ...wrap(core, gate, {}),
    configure(next) {
      options = { ...fixed, format: next.format, timestamp: next.timestamp };
      gate.lowest = levelNumber(next);
    },
  };
}

/** What a logger and all its children share. */
type Gate = { lowest: number; readonly onTrouble: LogDeps['onTrouble'] };

function levelNumber({ level }: LogConfig): number {
  return pino.levels.values[PINO_LEVELS[level]] ?? 0;
}

type PinoLine = {
  readonly time: number;
  readonly level: number;
  readonly msg?: string;
  readonly [field: string]: unknown;
};

/** pino's own key names; a field of ours with one of them must not replace it. */
const RESERVED = new Set(['time', 'level', 'msg']);

function wrap(core: pino.Logger, gate: Gate, bound: LogFields): Logger {
  const write = (level: 'debug' | 'info' | 'warn' | 'error', fields: LogFields, text: string) => {
    if (level === 'warn' || level === 'error') {
      gate.onTrouble?.({ ...bound, ...fields }, text);
    }
    if ((pino.levels.values[level] ?? 0) >= gate.lowest) {
      core[level](plain(fields), text);
    }
  };
  return {
    debug: (fields, text) => write('debug', fields, text),
    info: (fields, text) => write('info', fields, text),
    warn: (fields, text) => write('warn', fields, text),
    error: (fields, text) => write('error', fields, text),
    child: (fields) => wrap(core.child(plain(fields)), gate, { ...bound, ...fields }),
  };
}

function plain(fields: LogFields): Record<string, string | number | boolean> {
  const result: Record<string, string | number | boolean> = {};
  for (const [key, value] of Object.entries(fields)) {
    if (value !== undefined) {
      const name = RESERVED.has(key) ? `fields.${key}` : key;
      result[name] = typeof value === 'bigint' ? value.toString() : value;
    }
  }
  return result;
}
