/** What one log entry holds, in the words that upstream's lines use. */
export type LogRecord = {
  readonly timeMs: number;
  readonly level: LogLevel;
  readonly text: string;
  readonly fields: Readonly<Record<string, unknown>>;
};

export type LogLevel = 'trace' | 'debug' | 'info' | 'warning' | 'error' | 'fatal';

export type LogFormatOptions = {
  readonly format: 'human' | 'logfmt' | 'json';
  readonly timestamp: 'short' | 'disable' | 'full' | '';
  /** True when the lines go to a terminal: coloured, and `short` counts seconds since the start. */
  readonly terminal: boolean;
  readonly startMs: number;
};

/** The database names of a fleet line up below each other when they are at most this long. */
const DB_WIDTH = 14;
/** On terminals the fields begin in one column for texts up to this long. */
const TEXT_WIDTH = 44;
const COLOURS: Readonly<Record<LogLevel, number>> = {
  trace: 37,
  debug: 37,
  info: 36,
  warning: 33,
  error: 31,
  fatal: 31,
};

/**
 * One line without its line end, as upstream prints it.
 *
 * Source: PowerDNS/lightningstream, `config/logger/formatter.go`; sirupsen/logrus, `TextFormatter`.
 */
export function formatLogLine(record: LogRecord, options: LogFormatOptions): string {
  if (options.format === 'json') {
    return jsonLine(record, options);
  }
  const prefixed = options.format === 'human' ? withDatabase(record) : record.text;
  return options.terminal && options.format === 'human'
    ? terminalLine(record, prefixed, options)
    : logfmtLine(record, prefixed, options);
}

function withDatabase(record: LogRecord): string {
  const database = record.fields['db'];
  return typeof database === 'string'
    ? `[${database.padEnd(DB_WIDTH)}] ${record.text}`
    : record.text;
}

function jsonLine(record: LogRecord, options: LogFormatOptions): string {
  const all: Record<string, unknown> = {
    ...record.fields,
    level: record.level,
    msg: record.text,
    ...(options.timestamp === 'disable' ? {} : { time: formatRfc3339(record.timeMs) }),
  };
  const sorted = Object.entries(all).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify(Object.fromEntries(sorted));
}

function logfmtLine(record: LogRecord, text: string, options: LogFormatOptions): string {
  const parts: string[] = [];
  if (options.timestamp !== 'disable') {
    parts.push(`time=${quoteValue(formatRfc3339(record.timeMs))}`);
  }
  parts.push(`level=${record.level}`, `msg=${quoteValue(text)}`);
  for (const [key, value] of sortedFields(record)) {
    parts.push(`${key}=${quoteValue(value)}`);
  }
  return parts.join(' ');
}

function terminalLine(record: LogRecord, text: string, options: LogFormatOptions): string {
  const colour = (what: string) => `\u001B[${COLOURS[record.level]}m${what}\u001B[0m`;
  const fields = sortedFields(record)
    .map(([key, value]) => ` ${colour(key)}=${quoteValue(value)}`)
    .join('');
  const level = colour(record.level.toUpperCase().slice(0, 4));
  // A control character in a text from outside must not reach the terminal; a new line cannot look like an entry.
  const line = text
    .split('\n')
    .map((part) => part.replaceAll(/\p{Cc}+/gu, ' '))
    .join('\n    ')
    .padEnd(TEXT_WIDTH);
  return `${level}${terminalTime(record, options)} ${line} ${fields}`.trimEnd();
}

function terminalTime(record: LogRecord, options: LogFormatOptions): string {
  switch (options.timestamp) {
    case 'disable':
      return '';
    case 'full':
      return `[${formatRfc3339(record.timeMs)}]`;
    default: {
      const seconds = Math.max(0, Math.floor((record.timeMs - options.startMs) / 1000));
      return `[${String(seconds).padStart(4, '0')}]`;
    }
  }
}

function sortedFields(record: LogRecord): [string, string][] {
  return Object.entries(record.fields)
    .map(([key, value]): [string, string] => [
      key,
      typeof value === 'string' ? value : JSON.stringify(value),
    ])
    .toSorted(([a], [b]) => (a < b ? -1 : 1));
}

/** Values of letters, digits and `-._/@^+` stand alone; all others are quoted. */
function quoteValue(value: string): string {
  return /^[a-zA-Z0-9\-._/@^+]*$/.test(value) ? value : JSON.stringify(value);
}

/** RFC 3339 to the second, in the local time zone: `2026-01-02T03:04:05Z`, `…+02:00`. */
export function formatRfc3339(timeMs: number): string {
  const date = new Date(timeMs);
  const offsetMinutes = -date.getTimezoneOffset();
  const local = new Date(timeMs + offsetMinutes * 60_000).toISOString().slice(0, 19);
  if (offsetMinutes === 0) {
    return `${local}Z`;
  }
  const two = (value: number) => String(Math.floor(Math.abs(value))).padStart(2, '0');
  const sign = offsetMinutes < 0 ? '-' : '+';
  return `${local}${sign}${two(offsetMinutes / 60)}:${two(Math.abs(offsetMinutes) % 60)}`;
}
