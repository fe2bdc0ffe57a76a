import type { Database, RootDatabase } from 'lmdb';

import type { Random } from './random.ts';

/** What a DBI is created with, and which keys and values it gets. */
export type DbiKind = {
  readonly options: Record<string, unknown>;
  readonly isDup: boolean;
  /** Bytes of each key, 0: any. */
  readonly keyBytes: number;
  /** Bytes of each value, 0: any. */
  readonly valueBytes: number;
  /** Zero bytes before each key, and before each value of a DUPSORT DBI: few fit on a page, so trees grow deep. */
  readonly prefixBytes?: number;
};

const DUP = { dupSort: true };

/** One of every shape of tree that LMDB has. */
export const DBI_KINDS: readonly DbiKind[] = [
  { options: {}, isDup: false, keyBytes: 0, valueBytes: 0 },
  { options: {}, isDup: false, keyBytes: 0, valueBytes: 0 },
  { options: {}, isDup: false, keyBytes: 0, valueBytes: 0, prefixBytes: 450 },
  { options: { reverseKey: true }, isDup: false, keyBytes: 0, valueBytes: 0 },
  { options: { keyEncoding: 'uint32' }, isDup: false, keyBytes: 4, valueBytes: 0 },
  { options: { keyEncoding: 'uint32' }, isDup: false, keyBytes: 8, valueBytes: 0 },
  { options: DUP, isDup: true, keyBytes: 0, valueBytes: 0 },
  { options: DUP, isDup: true, keyBytes: 0, valueBytes: 0, prefixBytes: 400 },
  {
    options: { ...DUP, reverseDup: true, reverseKey: true },
    isDup: true,
    keyBytes: 0,
    valueBytes: 0,
  },
  { options: { ...DUP, dupFixed: true }, isDup: true, keyBytes: 0, valueBytes: 6 },
  { options: { ...DUP, dupFixed: true }, isDup: true, keyBytes: 0, valueBytes: 1 },
  {
    options: { ...DUP, dupFixed: true, integerDup: true },
    isDup: true,
    keyBytes: 0,
    valueBytes: 4,
  },
  {
    options: { ...DUP, dupFixed: true, integerDup: true },
    isDup: true,
    keyBytes: 0,
    valueBytes: 8,
  },
  { options: { ...DUP, integerDup: true }, isDup: true, keyBytes: 0, valueBytes: 4 },
  { options: { ...DUP, keyEncoding: 'uint32' }, isDup: true, keyBytes: 4, valueBytes: 0 },
];

/** Texts are latin1. A key of a DUPSORT DBI has one or more values, another exactly one. */
type Values = Set<string>;

/** One incarnation of a DBI, and what it should hold. */
export class ModelDbi {
  readonly name: string;
  readonly kind: DbiKind;
  readonly data = new Map<string, Values>();
  /** For each key touched in this step, what it had before. */
  readonly before = new Map<string, Values | undefined>();
  readonly db: Database<Buffer, Buffer>;
  /** A list of the keys for random picks; may hold keys that are gone. */
  readonly #keys: string[] = [];

  constructor(name: string, kind: DbiKind, db: Database<Buffer, Buffer>) {
    this.name = name;
    this.kind = kind;
    this.db = db;
  }

  put(key: Buffer, value: Buffer): void {
    this.db.putSync(key, value);
    const text = key.toString('latin1');
    this.#touch(text);
    const values = this.data.get(text);
    if (values === undefined) {
      this.#keys.push(text);
    }
    if (values !== undefined && this.kind.isDup) {
      values.add(value.toString('latin1'));
    } else {
      this.data.set(text, new Set([value.toString('latin1')]));
    }
  }

  removeKey(text: string): void {
    this.db.removeSync(Buffer.from(text, 'latin1'));
    this.#touch(text);
    this.data.delete(text);
  }

  removeValue(text: string, value: string): void {
    this.db.removeSync(Buffer.from(text, 'latin1'), Buffer.from(value, 'latin1'));
    this.#touch(text);
    const values = this.data.get(text)!;
    values.delete(value);
    if (values.size === 0) {
      this.data.delete(text);
    }
  }

  /** The application empties or drops the DBI. */
  forgetAll(): void {
    for (const key of this.data.keys()) {
      this.#touch(key);
    }
    this.data.clear();
    this.#keys.length = 0;
  }

  /** A key that exists, undefined where luck or the DBI has none. */
  someKey(random: Random): string | undefined {
    for (let attempt = 0; attempt < 8 && this.#keys.length > 0; attempt += 1) {
      const at = random.next(this.#keys.length);
      const key = this.#keys[at]!;
      if (this.data.has(key)) {
        return key;
      }
      this.#keys[at] = this.#keys.at(-1)!;
      this.#keys.pop();
    }
    return undefined;
  }

  #touch(key: string): void {
    if (!this.before.has(key)) {
      const values = this.data.get(key);
      this.before.set(key, values && new Set(values));
    }
  }
}

/** Random work on a real LMDB, and a model of what must be in it and of what each step changed. */
export class ModelWriter {
  readonly dbis = new Map<string, ModelDbi>();
  /** Puts and removes so far. */
  operations = 0;

  readonly #env: RootDatabase<Buffer, Buffer>;
  readonly #random: Random;
  #atStepStart = new Map<string, ModelDbi>();
  readonly #maxEntries: number;
  readonly #kinds: readonly DbiKind[];
  /** Lengths are chosen for pages of 4 KiB and scaled to those there are. */
  readonly #scale: number;

  constructor(
    env: RootDatabase<Buffer, Buffer>,
    random: Random,
    options: { maxEntries: number; pageSize: number; kinds?: readonly DbiKind[] },
  ) {
    this.#kinds = options.kinds ?? DBI_KINDS;
    this.#env = env;
    this.#random = random;
    this.#maxEntries = options.maxEntries;
    this.#scale = options.pageSize / 4096;
  }

  /** One to three actions, each in a transaction or two of its own. */
  step(): void {
    this.#atStepStart = new Map(this.dbis);
    for (const dbi of this.dbis.values()) {
      dbi.before.clear();
    }
    for (let left = 1 + (this.#random.chance(20) ? 2 : 0); left > 0; left -= 1) {
      this.#act();
    }
  }

  createDbi(name: string, kind: DbiKind): ModelDbi {
    const binary = { keyEncoding: 'binary', encoding: 'binary', cache: false } as const;
    // An INTEGERKEY DBI is created as one, and then used with raw keys.
    this.#env.openDB({ ...binary, ...kind.options, name } as never);
    const db = this.#env.openDB<Buffer, Buffer>({ ...kind.options, ...binary, name } as never);
    const dbi = new ModelDbi(name, kind, db);
    this.dbis.set(name, dbi);
    return dbi;
  }

  /** Random puts and removes in one DBI, and one key of a DUPSORT DBI with many values. */
  fill(dbi: ModelDbi, count: number): void {
    this.#inTransaction(() => {
      for (let i = 0; i < count; i += 1) {
        this.#mutate(dbi);
      }
      this.#bulkLoad(dbi);
    });
  }

  /** The changes of the last step: "dbi|key|old|new" in latin1, sorted; no side is "-", else "=" and the bytes. */
  expectedChanges(): string[] {
    const lines: string[] = [];
    for (const name of new Set([...this.#atStepStart.keys(), ...this.dbis.keys()])) {
      const old = this.#atStepStart.get(name);
      const now = this.dbis.get(name);
      if (
        old !== now &&
        (old === undefined || now === undefined || old.kind.isDup !== now.kind.isDup)
      ) {
        for (const [key, values] of old?.before ?? []) {
          addLines(lines, old!, key, values, undefined);
        }
        for (const [key, values] of now?.data ?? []) {
          addLines(lines, now!, key, undefined, values);
        }
      } else {
        const keys =
          old === now ? now!.before.keys() : new Set([...old!.before.keys(), ...now!.data.keys()]);
        for (const key of keys) {
          addLines(lines, now!, key, old!.before.get(key), now!.data.get(key));
        }
      }
    }
    return lines.sort();
  }

  #act(): void {
    const random = this.#random;
    const dice = random.next(100);
    if (this.dbis.size === 0 || (dice < 2 && this.dbis.size < 16)) {
      this.#create(`dbi-${random.next(24)}`);
      return;
    }
    const dbi = random.pick([...this.dbis.values()]);
    const isFull = dbi.data.size > this.#maxEntries;
    if (dice < 3) {
      dbi.forgetAll();
      dbi.db.dropSync();
      this.dbis.delete(dbi.name);
      if (random.chance(50)) {
        this.#create(dbi.name);
      }
    } else if (dice < 4) {
      dbi.forgetAll();
      dbi.db.clearSync();
    } else if (dice < 7 || isFull) {
      this.#inTransaction(() => this.#removeMany(dbi, random.chance(20) ? 1000 : 80));
    } else if (dice < 12) {
      this.#inTransaction(() => this.#bulkLoad(dbi));
    } else {
      this.#inTransaction(() => {
        for (let left = 1 + random.next(6); left > 0; left -= 1) {
          this.#mutate(random.chance(70) ? dbi : random.pick([...this.dbis.values()]));
        }
      });
    }
  }

  #inTransaction(work: () => void): void {
    this.#env.transactionSync(work);
  }

  #create(name: string): void {
    if (!this.dbis.has(name)) {
      this.createDbi(name, this.#random.pick(this.#kinds));
    }
  }

  #mutate(dbi: ModelDbi): void {
    const random = this.#random;
    this.operations += 1;
    const existing = random.chance(65) ? dbi.someKey(random) : undefined;
    if (existing === undefined) {
      dbi.put(this.#key(dbi.kind), this.#value(dbi.kind));
    } else if (random.chance(30)) {
      this.#remove(dbi, existing);
    } else if (random.chance(15)) {
      // The same bytes again: the leaf is written anew, and nothing has changed.
      const [value] = dbi.data.get(existing)!;
      dbi.put(Buffer.from(existing, 'latin1'), Buffer.from(value!, 'latin1'));
    } else {
      dbi.put(Buffer.from(existing, 'latin1'), this.#value(dbi.kind));
    }
  }

  #remove(dbi: ModelDbi, key: string): void {
    if (dbi.kind.isDup && this.#random.chance(80)) {
      dbi.removeValue(key, this.#random.pick([...dbi.data.get(key)!].slice(0, 50)));
    } else {
      dbi.removeKey(key);
    }
  }

  #removeMany(dbi: ModelDbi, count: number): void {
    const keys = [...dbi.data.keys()].sort();
    const from = this.#random.next(keys.length || 1);
    for (const key of keys.slice(from, from + count)) {
      this.operations += 1;
      dbi.removeKey(key);
    }
  }

  #bulkLoad(dbi: ModelDbi): void {
    const random = this.#random;
    const count = 20 + random.next(random.chance(10) ? 1500 : 150);
    const one = dbi.kind.isDup && random.chance(60) ? (dbi.someKey(random) ?? '') : '';
    const start = random.next(1_000_000);
    for (let i = 0; i < count; i += 1) {
      this.operations += 1;
      if (one !== '' && dbi.data.has(one)) {
        dbi.put(Buffer.from(one, 'latin1'), this.#value(dbi.kind));
      } else if (dbi.kind.keyBytes > 0) {
        const key = Buffer.alloc(dbi.kind.keyBytes);
        key.writeUInt32LE(start + i);
        dbi.put(key, this.#value(dbi.kind));
      } else {
        dbi.put(this.#prefixed(Buffer.from(`bulk-${start + i}`), dbi.kind), this.#value(dbi.kind));
      }
    }
  }

  #key(kind: DbiKind): Buffer {
    const random = this.#random;
    if (kind.keyBytes > 0) {
      return random.bytes(kind.keyBytes);
    }
    const longest = random.chance(4) ? Math.floor(500 * this.#scale) : 24;
    return this.#prefixed(random.bytes(1 + random.next(longest)), kind);
  }

  #value(kind: DbiKind): Buffer {
    const random = this.#random;
    if (kind.valueBytes > 0) {
      return random.bytes(kind.valueBytes);
    }
    if (kind.isDup) {
      const longest = random.chance(5) ? Math.floor(500 * this.#scale) : 30;
      return this.#prefixed(random.bytes(1 + random.next(longest)), kind);
    }
    const dice = random.next(100);
    const bound = dice < 85 ? 60 : Math.floor((dice < 95 ? 2200 : 14_000) * this.#scale);
    return random.bytes(8).subarray(0, random.next(9)).length === 8
      ? Buffer.alloc(random.next(bound), random.next(256))
      : Buffer.alloc(random.next(bound), random.bytes(3));
  }

  #prefixed(bytes: Buffer, { prefixBytes = 0 }: DbiKind): Buffer {
    return Buffer.concat([Buffer.alloc(Math.floor(prefixBytes * this.#scale)), bytes]);
  }
}

/** The line of one change, as {@link ModelWriter.expectedChanges} has it. */
export function changeLine(
  dbiName: string,
  key: string,
  oldValue: string | undefined,
  newValue: string | undefined,
): string {
  const side = (value: string | undefined): string => (value === undefined ? '-' : `=${value}`);
  return `${dbiName}|${key}|${side(oldValue)}|${side(newValue)}`;
}

function addLines(
  lines: string[],
  dbi: ModelDbi,
  key: string,
  old: Values | undefined,
  now: Values | undefined,
): void {
  if (!dbi.kind.isDup) {
    const [oldValue] = old ?? [];
    const [newValue] = now ?? [];
    if (oldValue !== newValue) {
      lines.push(changeLine(dbi.name, key, oldValue, newValue));
    }
    return;
  }
  for (const value of old ?? []) {
    if (now?.has(value) !== true) {
      lines.push(changeLine(dbi.name, key, value, undefined));
    }
  }
  for (const value of now ?? []) {
    if (old?.has(value) !== true) {
      lines.push(changeLine(dbi.name, key, undefined, value));
    }
  }
}
