import { formatGoDuration, parseGoDuration } from '../../protocol/time.ts';
import { FieldProblem, leaf, type Leaf, type LeafOptions, type Scalar } from './fields.ts';

const TRUE_WORDS = new Set([
  'true',
  'True',
  'TRUE',
  'y',
  'Y',
  'yes',
  'Yes',
  'YES',
  'on',
  'On',
  'ON',
]);
const FALSE_WORDS = new Set([
  'false',
  'False',
  'FALSE',
  'n',
  'N',
  'no',
  'No',
  'NO',
  'off',
  'Off',
  'OFF',
]);

/** YAML 1.1's words for true and false; quoted words are text, hence no flags. */
export function flag(key: string, options: LeafOptions<boolean>): Leaf<boolean> {
  return leaf(key, options, { type: 'bool', fallback: false, parse: parseFlag, format: String });
}

function parseFlag(scalar: Scalar): boolean {
  if (scalar.plain && TRUE_WORDS.has(scalar.text)) {
    return true;
  }
  if (scalar.plain && FALSE_WORDS.has(scalar.text)) {
    return false;
  }
  throw new FieldProblem(`must be true or false, not ${quote(scalar)}`);
}

/** Any text; numbers and words such as `yes` are taken as they are written. */
export function text(key: string, options: LeafOptions<string>): Leaf<string> {
  return leaf(key, options, {
    type: 'string',
    fallback: '',
    parse: (scalar) => scalar.text,
    format: (value) => value,
  });
}

/** A URL whose query is a secret: a SAS. */
export function urlWithSecretQuery(key: string, options: LeafOptions<string>): Leaf<string> {
  return leaf(key, options, {
    type: 'string',
    fallback: '',
    parse: (scalar) => scalar.text,
    format: (value) => value.replace(/\?.*$/s, '?***'),
  });
}

/** One of a few words. */
export function choice<const W extends string>(
  key: string,
  options: LeafOptions<W> & { readonly default: W; readonly words: readonly W[] },
): Leaf<W> {
  return leaf<W>(key, options, {
    type: options.words.filter((word) => word !== '').join(', '),
    fallback: options.default,
    parse: (scalar) => {
      const found = options.words.find((word) => word === scalar.text);
      if (found === undefined) {
        const words = options.words.filter((word) => word !== '').join(', ');
        throw new FieldProblem(`must be one of ${words}, not ${quote(scalar)}`);
      }
      return found;
    },
    format: (value) => value,
  });
}

/** Upstream's 0 that stands for "the default". */
type ZeroOption = { readonly zeroIsDefault?: true | undefined };

function zeroToDefault(value: number, options: LeafOptions<number> & ZeroOption): number {
  return value === 0 && options.zeroIsDefault === true ? (options.default ?? 0) : value;
}

/** A whole number, also octal (`0775`, `0o775`), hexadecimal or binary. */
export function count(
  key: string,
  options: LeafOptions<number> & ZeroOption & { readonly atLeast: number },
): Leaf<number> {
  return leaf(key, options, {
    type: 'int',
    fallback: 0,
    parse: (scalar) => {
      const value = zeroToDefault(parseWhole(scalar), options);
      if (value < options.atLeast) {
        throw new FieldProblem(`must be ${options.atLeast} or more, not ${scalar.text}`);
      }
      return value;
    },
    format: String,
  });
}

/** A number with a fraction; `atLeast` included. */
export function fraction(
  key: string,
  options: LeafOptions<number> & { readonly atLeast: number },
): Leaf<number> {
  return leaf(key, options, {
    type: 'float',
    fallback: 0,
    parse: (scalar) => {
      const value =
        scalar.plain && /^[-+]?(\d[\d_]*\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(scalar.text)
          ? Number(scalar.text.replaceAll('_', ''))
          : Number.NaN;
      if (!Number.isFinite(value) || value < options.atLeast) {
        throw new FieldProblem(
          `must be a number of ${options.atLeast} or more, not ${quote(scalar)}`,
        );
      }
      return value;
    },
    format: String,
  });
}

type DurationOptions = LeafOptions<number> & {
  readonly atLeastMs?: number | undefined;
  /** 0 means "off" and is allowed below `atLeastMs`. */
  readonly zeroIsOff?: true | undefined;
  /** Lower values are raised to this one instead of refused, as upstream does for `health`. */
  readonly clampMs?: number | undefined;
};

/** A Go duration (`1m30s`); a bare number is nanoseconds. The value is in milliseconds. */
export function duration(key: string, options: DurationOptions): Leaf<number> {
  return leaf(key, options, {
    type: 'duration',
    fallback: 0,
    parse: (scalar) => checkDuration(scalar, options),
    format: formatGoDuration,
  });
}

function checkDuration(scalar: Scalar, options: DurationOptions): number {
  let valueMs: number;
  try {
    valueMs = parseGoDuration(scalar.text);
  } catch {
    throw new FieldProblem(
      `must be a duration, not ${quote(scalar)}`,
      'Write a number with a unit: ns, us, ms, s, m or h, as in 300ms or 1m30s.',
    );
  }
  if (options.clampMs !== undefined) {
    return Math.max(valueMs, options.clampMs);
  }
  const atLeastMs = options.atLeastMs ?? 0;
  if (valueMs >= atLeastMs || (valueMs === 0 && options.zeroIsOff === true)) {
    return valueMs;
  }
  const allowed = `${formatGoDuration(atLeastMs)} or more${options.zeroIsOff ? ', or 0 for off' : ''}`;
  // The usual mistake: `5` for five seconds is five nanoseconds, here as in upstream.
  const hint = /^\d+$/.test(scalar.text)
    ? `A bare number is nanoseconds; write ${scalar.text}s for ${scalar.text} seconds.`
    : undefined;
  throw new FieldProblem(`must be ${allowed}, not ${scalar.text}`, hint);
}

const SIZE_UNITS = ['', 'k', 'm', 'g', 't', 'p', 'e'];

/** A size with binary units (`1GB` is 2^30 bytes). The value is in bytes. */
export function size(
  key: string,
  options: LeafOptions<number> & { readonly atLeast?: number | undefined },
): Leaf<number> {
  return leaf(key, options, {
    type: 'size',
    fallback: 0,
    parse: (scalar) => {
      const bytes = parseSize(scalar);
      if (bytes < (options.atLeast ?? 0)) {
        throw new FieldProblem(
          `must be ${formatSize(options.atLeast ?? 0)} or more, not ${scalar.text}`,
        );
      }
      return bytes;
    },
    format: formatSize,
  });
}

function parseSize(scalar: Scalar): number {
  const match = /^(\d+)\s*([a-zA-Z]*)$/.exec(scalar.text);
  const unit = match?.[2] ?? '';
  if (/^[KMGTPE]b$/.test(unit)) {
    throw new FieldProblem(
      `${quote(scalar)} is a number of bits`,
      `Write ${match?.[1] ?? ''}${unit.toUpperCase()} for bytes.`,
    );
  }
  const power = SIZE_UNITS.indexOf(unit.toLowerCase().replace(/b$/, ''));
  if (match === null || power < 0) {
    throw new FieldProblem(
      `must be a size, not ${quote(scalar)}`,
      'Write a whole number with a unit: B, KB, MB, GB or TB, as in 1000MB.',
    );
  }
  const bytes = Number(match[1]) * 1024 ** power;
  if (!Number.isSafeInteger(bytes)) {
    throw new FieldProblem(`is too large: ${scalar.text}`);
  }
  return bytes;
}

/** The size with the largest unit that divides it, as it can be written in the file. */
function formatSize(bytes: number): string {
  let power = 0;
  let rest = bytes;
  while (rest > 0 && rest % 1024 === 0 && power < SIZE_UNITS.length - 1) {
    rest /= 1024;
    power++;
  }
  return `${rest}${(SIZE_UNITS[power] ?? '').toUpperCase()}B`;
}

/** Permission bits, octal (`0640` or `0o640`). */
export function fileMode(key: string, options: LeafOptions<number> & ZeroOption): Leaf<number> {
  return leaf(key, options, {
    type: 'mode',
    fallback: 0,
    parse: (scalar) => {
      const value = zeroToDefault(parseWhole(scalar), options);
      if (value < 0 || value > 0o777) {
        throw new FieldProblem(
          `must be at most 0777, not ${scalar.text} (decimal instead of octal?)`,
          `Write the mode with a leading zero, as in 0640.`,
        );
      }
      return value;
    },
    format: (value) => `0${value.toString(8)}`,
  });
}

/** The DBI flags of LMDB that are stored in a file, by name. */
const DBI_FLAG_BITS: ReadonlyMap<string, number> = new Map([
  ['REVERSEKEY', 0x02],
  ['DUPSORT', 0x04],
  ['INTEGERKEY', 0x08],
  ['DUPFIXED', 0x10],
  ['INTEGERDUP', 0x20],
  ['REVERSEDUP', 0x40],
]);

/** DBI flags as LMDB writes them: `MDB_DUPSORT|MDB_DUPFIXED`; empty for none; unknown bits in hexadecimal. */
export function formatDbiFlags(flags: number): string {
  const names: string[] = [];
  let rest = flags;
  for (const [name, bit] of DBI_FLAG_BITS) {
    if ((rest & bit) !== 0) {
      names.push(`MDB_${name}`);
      rest &= ~bit;
    }
  }
  if (rest !== 0) {
    names.push(`0x${rest.toString(16)}`);
  }
  return names.join('|');
}

/** DBI flags, by name or number; undefined where the key is not given. */
export function dbiFlags(
  key: string,
  options: LeafOptions<number | undefined>,
): Leaf<number | undefined> {
  return leaf<number | undefined>(key, options, {
    type: 'flags',
    fallback: undefined,
    parse: parseDbiFlags,
    format: (value) => formatDbiFlags(value ?? 0) || '0',
  });
}

function parseDbiFlags(scalar: Scalar): number {
  let flags = 0;
  for (const word of scalar.text.split(/[|,+\s]+/).filter((part) => part !== '')) {
    const bit = /^(0x[0-9a-f]+|\d+)$/i.test(word)
      ? Number(word)
      : DBI_FLAG_BITS.get(word.toUpperCase().replace(/^MDB_/, ''));
    if (bit === undefined || (bit & ~0x7e) !== 0 || bit > 0xffff) {
      throw new FieldProblem(
        `has an unknown DBI flag: ${word}`,
        `Use ${[...DBI_FLAG_BITS.keys()].map((name) => `MDB_${name}`).join(', ')}.`,
      );
    }
    flags |= bit;
  }
  return flags;
}

/** `host:port` or `:port` (all addresses); empty: off. */
export function listenAddress(key: string, options: LeafOptions<string>): Leaf<string> {
  return leaf(key, options, {
    type: 'host:port',
    fallback: '',
    parse: (scalar) => {
      if (scalar.text !== '' && parseListenAddress(scalar.text) === undefined) {
        throw new FieldProblem(
          `must be host:port, not ${quote(scalar)}`,
          'Write an address such as 127.0.0.1:8500, [::1]:8500 or :8500.',
        );
      }
      return scalar.text;
    },
    format: (value) => value,
  });
}

/** The parts of `host:port`; host undefined: all addresses. Undefined where the text is none. */
export function parseListenAddress(
  address: string,
): { readonly host: string | undefined; readonly port: number } | undefined {
  const match = /^(?:\[([0-9a-fA-F:.%a-z]+)\]|([^:[\]\s/]*)):(\d{1,5})$/.exec(address);
  const port = Number(match?.[3]);
  if (match === null || port > 65535) {
    return undefined;
  }
  const host = match[1] ?? match[2];
  return { host: host === '' ? undefined : host, port };
}

function parseWhole(scalar: Scalar): number {
  const digits = scalar.text.replaceAll('_', '');
  let value = Number.NaN;
  if (scalar.plain) {
    if (/^[-+]?0[0-7]+$/.test(digits)) {
      value = Number.parseInt(digits, 8);
    } else if (/^([-+]?\d+|0o[0-7]+|0x[0-9a-f]+|0b[01]+)$/i.test(digits)) {
      value = Number(digits);
    }
  }
  if (!Number.isSafeInteger(value)) {
    throw new FieldProblem(`must be a whole number, not ${quote(scalar)}`);
  }
  return value;
}

function quote(scalar: Scalar): string {
  return JSON.stringify(scalar.text.length > 60 ? `${scalar.text.slice(0, 60)}…` : scalar.text);
}
