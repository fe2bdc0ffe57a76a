import { SyncError } from './errors.ts';

/** Nanoseconds since 1970-01-01 UTC, unsigned, 64 bits. */
export type TimestampNs = bigint;

/** The wall clock, passed in so that tests and the simulation own it. */
export interface Clock {
  nowNs(): TimestampNs;
}

/** The highest timestamp that a header or an entry can hold. */
export const MAX_TIMESTAMP_NS: TimestampNs = 0xffff_ffff_ffff_ffffn;

/** The longest time that a timer of Node keeps, 24.8 days: one that is set for longer fires after a millisecond. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/** A time for one timer: as given, {@link MAX_TIMER_MS} at most. */
export function timerMs(ms: number): number {
  return Math.min(ms, MAX_TIMER_MS);
}

const NS_PER_UNIT: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  µs: 1e3,
  μs: 1e3,
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
};
const DURATION = /^([+-]?)((?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)$/;
const DURATION_PART = /(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)/g;
/** Go holds a duration as 64-bit nanoseconds. */
const MAX_DURATION_NS = 2 ** 63;

/**
 * A Go duration (`300ms`, `1m30s`, `1.5h`) in milliseconds, possibly fractional or negative.
 * A bare number counts nanoseconds, as upstream's YAML reader takes it.
 *
 * Errors: CONFIG_INVALID. Source: Go `time.ParseDuration`.
 */
export function parseGoDuration(text: string): number {
  const trimmed = text.trim();
  const ns = /^[+-]?\d+$/.test(trimmed) ? Number(trimmed) : durationNs(trimmed);
  if (ns === undefined || Math.abs(ns) >= MAX_DURATION_NS) {
    throw new SyncError('CONFIG_INVALID', `cannot read duration "${text.slice(0, 40)}"`, {
      hint: 'Write numbers with units ns, us, ms, s, m or h, such as 300ms, 1m30s or 4h.',
    });
  }
  return ns / 1e6;
}

function durationNs(text: string): number | undefined {
  const match = DURATION.exec(text);
  if (match === null) {
    return undefined;
  }
  let ns = 0;
  for (const [, number = '', unit = ''] of (match[2] ?? '').matchAll(DURATION_PART)) {
    ns += Number(number) * (NS_PER_UNIT[unit] ?? Number.NaN);
  }
  return match[1] === '-' ? -ns : ns;
}

/** Milliseconds as Go prints a duration: `1m30s`, `4h0m0s`, `300ms`, `1.5µs`, `0s`. */
export function formatGoDuration(ms: number): string {
  const ns = Math.round(Math.abs(ms) * 1e6);
  const sign = ms < 0 && ns > 0 ? '-' : '';
  if (ns === 0) {
    return '0s';
  }
  if (ns < 1e3) {
    return `${sign}${ns}ns`;
  }
  if (ns < 1e6) {
    return `${sign}${ns / 1e3}µs`;
  }
  if (ns < 1e9) {
    return `${sign}${ns / 1e6}ms`;
  }
  const hours = Math.floor(ns / 3600e9);
  const minutes = Math.floor((ns % 3600e9) / 60e9);
  const seconds = `${(ns % 60e9) / 1e9}s`;
  if (hours > 0) {
    return `${sign}${hours}h${minutes}m${seconds}`;
  }
  return minutes > 0 ? `${sign}${minutes}m${seconds}` : `${sign}${seconds}`;
}

/** The time part of an object name, UTC, 25 characters: `20240131-235959-012345678`. Up to {@link MAX_TIMESTAMP_NS}. */
export function formatNameTime(ns: TimestampNs): string {
  if (ns < 0n || ns > MAX_TIMESTAMP_NS) {
    throw new SyncError('OBJECT_NAME_INVALID', `time ${ns} does not fit in an object name`);
  }
  const iso = new Date(Number(ns / 1_000_000n)).toISOString();
  const date = iso.slice(0, 10).replaceAll('-', '');
  const time = iso.slice(11, 19).replaceAll(':', '');
  return `${date}-${time}-${String(ns % 1_000_000_000n).padStart(9, '0')}`;
}

const NAME_TIME = /^(\d{4})(\d{2})(\d{2})-(\d{2})(\d{2})(\d{2})-(\d{9})$/;

/**
 * The inverse of {@link formatNameTime}; undefined for anything else, a date that does not exist included, and for
 * a time before 1970 or above {@link MAX_TIMESTAMP_NS} (year 2554), which no timestamp can hold.
 */
export function parseNameTime(text: string): TimestampNs | undefined {
  const match = NAME_TIME.exec(text);
  if (match === null) {
    return undefined;
  }
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match
    .slice(1, 7)
    .map(Number);
  if (year < 1970) {
    return undefined;
  }
  const ms = Date.UTC(year, month - 1, day, hour, minute, second);
  const ns = BigInt(ms) * 1_000_000n + BigInt(match[7] ?? '0');
  // Date.UTC carries over (February 30th becomes March); the way back shows it.
  return ns <= MAX_TIMESTAMP_NS && formatNameTime(ns) === text ? ns : undefined;
}
