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

/** Where lines go: standard error, or a test's buffer. */
export interface LogStream {
  write(line: string): unknown;
  readonly isTTY?: boolean | undefined;
}

export type LogDeps = {
  readonly stream?: LogStream | undefined;
  /** Milliseconds since the epoch. */
  readonly now?: (() => number) | undefined;
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

/** A logger that writes upstream's formats: see `log-format.ts`. */
export function createLogger(config: LogConfig, deps: LogDeps = {}): Logger {
  const stream = deps.stream ?? process.stderr;
  const now = deps.now ?? Date.now;
  const options = {
    format: config.format,
    timestamp: config.timestamp,
    terminal: stream.isTTY === true,
    startMs: now(),
  };
  const core = pino(
    {
      level: PINO_LEVELS[config.level],
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
  return wrap(core);
}

type PinoLine = {
  readonly time: number;
  readonly level: number;
  readonly msg?: string;
  readonly [field: string]: unknown;
};

/** pino's own key names; a field of ours with one of them must not replace it. */
const RESERVED = new Set(['time', 'level', 'msg']);

function wrap(core: pino.Logger): Logger {
  return {
    debug: (fields, text) => core.debug(plain(fields), text),
    info: (fields, text) => core.info(plain(fields), text),
    warn: (fields, text) => core.warn(plain(fields), text),
    error: (fields, text) => core.error(plain(fields), text),
    child: (fields) => wrap(core.child(plain(fields))),
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
