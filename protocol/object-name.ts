import { SyncError } from './errors.ts';
import {
  MAX_NEW_OBJECT_NAME_LENGTH,
  MAX_OBJECT_NAME_LENGTH,
  MAX_RUN_LENGTH,
  RUN_LENGTH,
} from './limits.ts';
import { formatNameTime, parseNameTime, type TimestampNs } from './time.ts';

declare const instanceBrand: unique symbol;
declare const streamBrand: unique symbol;

/** Names one agent of the fleet. Ours match `[a-zA-Z0-9-]+`; in a foreign name it may be any text without a dot. */
export type InstanceId = string & { readonly [instanceBrand]: true };

/**
 * `instance.run`: the numbered objects of one run of one instance. The time-ordered objects of an
 * upstream instance are the one stream `instance.X`. No database: a vector belongs to one.
 */
export type StreamId = string & { readonly [streamBrand]: true };

/** Full state of an instance; what changed since the object before; the compactor's merged state. */
export type ObjectKind = 'snapshot' | 'delta' | 'base';

/** A parsed object name. */
export type ObjectName = {
  readonly name: string;
  readonly database: string;
  readonly instance: InstanceId;
  readonly timeNs: TimestampNs;
  /** The fourth part as it stands: `GX` from upstream, `G` and the run from us. */
  readonly generation: string;
  /** The parts after the generation; ours begin with `S` and the number. */
  readonly extras: readonly string[];
  /** A full snapshot of ours whose name says that it adds nothing to its stream since the number before. */
  readonly marked: boolean;
  readonly kind: ObjectKind;
  readonly stream: StreamId;
  /** Place in the stream: our number (from 1), or {@link timeNs} where {@link ours} is false. */
  readonly seq: bigint;
  /** True if the name has a run and a number. */
  readonly ours: boolean;
};

/** What a name of ours is made from. */
export type ObjectNameParts = {
  readonly database: string;
  readonly instance: string;
  readonly timeNs: TimestampNs;
  readonly run: string;
  readonly seq: bigint;
  readonly kind: ObjectKind;
  /** See {@link ObjectName}; only for a full snapshot. */
  readonly marked?: boolean | undefined;
};

/** The instance under which the compactor stores bases. No agent may have it. */
export const COMPACTED_INSTANCE = 'compacted' as InstanceId;

/**
 * True for names that no agent may have: a policy for `DATABASE__INSTANCE__*` would let it write bases. Case and what
 * follows do not matter, since storages exist that ignore case.
 */
export function isReservedInstance(instance: string): boolean {
  return instance.toLowerCase().startsWith(COMPACTED_INSTANCE);
}

/** Run of the time-ordered stream of an instance. Upper case, so that no run of ours equals it. */
const TIME_ORDERED_RUN = 'X';

const EXTENSIONS: Readonly<Record<string, ObjectKind>> = {
  'pb.gz': 'snapshot',
  'delta.pb.gz': 'delta',
  'base.pb.gz': 'base',
};
const EXTENSION_OF = { snapshot: 'pb.gz', delta: 'delta.pb.gz', base: 'base.pb.gz' } as const;

const RUN = new RegExp(`^G([a-z0-9]{1,${MAX_RUN_LENGTH}})$`);
const SEQUENCE = /^S([1-9][0-9]{0,19})$/;
/** "No news". Behind the number, as one of the parts that upstream keeps and ignores. */
const MARK = 'N0';
const MAX_SEQUENCE = 0xffff_ffff_ffff_ffffn;
// A separator or a control character in a name is an attempt to reach another folder, or an accident.
const FORBIDDEN = /[/\\\u0000-\u001f\u007f]/;

/**
 * The instance name as it stands in object names: every character outside `[a-zA-Z0-9-]` becomes `-`.
 *
 * Errors: CONFIG_INVALID if nothing is left, or for a name that is reserved for compactors.
 * Source: PowerDNS/lightningstream, `syncer/utils.go`, `instanceID`.
 */
export function sanitizeInstance(text: string): InstanceId {
  const instance = text.replaceAll(/[^a-zA-Z0-9-]/gu, '-');
  if (instance === '' || isReservedInstance(instance)) {
    const allowed = `letters, digits and "-", not beginning with "${COMPACTED_INSTANCE}"`;
    throw new SyncError(
      'CONFIG_INVALID',
      `"${text}" cannot be the name of an instance (${allowed})`,
      { hint: `Set \`instance\` to a unique name: ${allowed}.` },
    );
  }
  return instance as InstanceId;
}

/** The stream of one run of an instance. */
export function streamOf(instance: string, run: string): StreamId {
  return `${instance}.${run}` as StreamId;
}

/** True if the stream is the time-ordered one of an upstream instance. */
export function isTimeOrdered(stream: StreamId): boolean {
  return stream.endsWith(`.${TIME_ORDERED_RUN}`);
}

/** The instance that writes a stream. */
export function instanceOfStream(stream: StreamId): InstanceId {
  return stream.slice(0, stream.lastIndexOf('.')) as InstanceId;
}

/**
 * Parses an object name: upstream's grammar, and ours on top of it. Never throws; undefined means that the object is
 * not ours to touch: a foreign file, a manifest, a delta or base without run and number.
 *
 * Whatever is a snapshot for upstream and does not have our run and number belongs to the time-ordered stream of its
 * instance. It must not get the stream of its run: its number, a time, would cover all numbers of that run.
 *
 * Source: PowerDNS/lightningstream, `snapshot/name.go`, `ParseName`; ours: docs/format.md, section 1.
 */
export function parseObjectName(name: string): ObjectName | undefined {
  if (name.length > MAX_OBJECT_NAME_LENGTH || FORBIDDEN.test(name)) {
    return undefined;
  }
  const dot = name.indexOf('.');
  const extension = dot < 0 ? '' : name.slice(dot + 1);
  const kind = Object.hasOwn(EXTENSIONS, extension) ? EXTENSIONS[extension] : undefined;
  const [database, instance, time, generation, ...extras] = name
    .slice(0, Math.max(dot, 0))
    .split('__');
  if (
    kind === undefined ||
    database === undefined ||
    instance === undefined ||
    time === undefined
  ) {
    return undefined;
  }
  const timeNs = parseNameTime(time);
  if (timeNs === undefined || generation === undefined) {
    return undefined;
  }
  const run = RUN.exec(generation)?.[1];
  const digits = SEQUENCE.exec(extras[0] ?? '')?.[1];
  const seq = digits === undefined ? undefined : BigInt(digits);
  const ours = run !== undefined && seq !== undefined && seq <= MAX_SEQUENCE;
  if (!ours && kind !== 'snapshot') {
    return undefined;
  }
  return {
    name,
    database,
    instance: instance as InstanceId,
    timeNs,
    generation,
    extras,
    marked: ours && kind === 'snapshot' && extras[1] === MARK,
    kind,
    stream: streamOf(instance, ours ? run : TIME_ORDERED_RUN),
    seq: ours ? seq : timeNs,
    ours,
  };
}

/**
 * Makes the name of an object of ours; {@link parseObjectName} gives exactly these parts back.
 *
 * Errors: OBJECT_NAME_INVALID if it would not, or if the name is too long for a file system.
 */
export function formatObjectName(parts: ObjectNameParts): string {
  const { database, instance, timeNs, run, seq, kind, marked = false } = parts;
  const head = `${database}__${instance}__${formatNameTime(timeNs)}`;
  const mark = marked ? `__${MARK}` : '';
  const name = `${head}__G${run}__S${seq}${mark}.${EXTENSION_OF[kind]}`;
  const parsed = parseObjectName(name);
  const same =
    parsed !== undefined &&
    parsed.ours &&
    parsed.database === database &&
    parsed.instance === instance &&
    parsed.generation === `G${run}` &&
    parsed.seq === seq &&
    parsed.marked === marked;
  if (!same || database === '' || instance === '' || name.length > MAX_NEW_OBJECT_NAME_LENGTH) {
    throw new SyncError('OBJECT_NAME_INVALID', `"${name.slice(0, 300)}" cannot be an object name`, {
      hint: 'Use short names of databases and instances, without "." and "__" and without "_" at the end.',
    });
  }
  return name;
}

/** The first part of all names of a database: what a listing asks for. */
export function databasePrefix(database: string): string {
  return `${database}__`;
}

/** Name of the manifest of a database. Not an object name: upstream and {@link parseObjectName} ignore it. */
export function manifestName(database: string): string {
  return `${database}__${COMPACTED_INSTANCE}.manifest.json`;
}

/** Name of the small object on which a compactor tries conditional writes; `run` is random. */
export function probeName(database: string, run: string): string {
  return `${probePrefix(database)}${run}.json`;
}

/** What the names of {@link probeName} begin with. */
export function probePrefix(database: string): string {
  return `${database}__${COMPACTED_INSTANCE}.probe.`;
}

/** Name of the small object that holds the bucket's random id. Belongs to no database. */
export function bucketIdName(): string {
  return 'lightningstream.bucket-id.json';
}

const RUN_ALPHABET = 'abcdefghijklmnopqrstuvwxyz0123456789';

/** A new run's id: 12 characters of `[a-z0-9]`, from 24 random bytes (two per character: the bias is 0.05 %). */
export function newRun(random: (bytes: number) => Uint8Array): string {
  const bytes = random(2 * RUN_LENGTH);
  let run = '';
  for (let i = 0; i < RUN_LENGTH; i++) {
    const number = ((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0);
    run += RUN_ALPHABET[number % RUN_ALPHABET.length];
  }
  return run;
}
