import fs from 'node:fs';
import path from 'node:path';
import { open, type Database, type RootDatabase } from 'lmdb';
import { DirectLocalDatabase } from '../../agent/lmdb/thread/direct-database.ts';
import type {
  DatabaseOptions,
  LocalDatabase,
  MergeResult,
  OpenResult,
} from '../../agent/lmdb/local-database.ts';
import { DataFile, listDbis } from '../../agent/lmdb/pages/data-file.ts';
import { PageCursor } from '../../agent/lmdb/pages/cursor.ts';
import type { Spool } from '../../agent/spool.ts';
import type { Clock } from '../../protocol/time.ts';
import { parseValueHeader } from '../../protocol/value-header.ts';
import { FakeClock } from './fake-clock.ts';
import {
  databaseOptions,
  objectSpool,
  readEncoded,
  scratchFolder,
  type ObjectContent,
} from './lmdb.ts';

type Bytes = Database<Buffer, Buffer>;
type Text = string | Buffer;

/** LMDB's flags of a DBI, as options of the binding. */
function creationOptions(flags: number): Record<string, unknown> {
  return {
    keyEncoding: (flags & 8) === 0 ? 'binary' : 'uint32',
    reverseKey: (flags & 2) !== 0,
    dupSort: (flags & 4) !== 0,
    dupFixed: (flags & 16) !== 0,
    integerDup: (flags & 32) !== 0,
    reverseDup: (flags & 64) !== 0,
  };
}

/** What a plain application does in one transaction. */
export interface PlainTxn {
  put(dbi: string, key: Text, value: Text): void;
  /** Removes a key, or one value of it. */
  remove(dbi: string, key: Text, value?: Text): void;
  drop(dbi: string): void;
}

/** An application that knows nothing of headers, beside the agent; as `Application` of lmdb.ts, it never reads. */
export class PlainApplication {
  readonly #root: RootDatabase<Buffer, Buffer>;
  readonly #dbis = new Map<string, Bytes>();

  constructor(file: string, options: { mapSize?: number } = {}) {
    this.#root = open<Buffer, Buffer>({
      path: file,
      noSubdir: true,
      keyEncoding: 'binary',
      encoding: 'binary',
      cache: false,
      overlappingSync: false,
      noSync: true,
      maxDbs: 64,
      mapSize: options.mapSize ?? 256 * 1024 ** 2,
    } as never);
  }

  create(dbi: string, flags: number): void {
    this.#root.openDB({ name: dbi, encoding: 'binary', ...creationOptions(flags) } as never);
    this.#open(dbi, (flags & 4) !== 0);
  }

  write(work: (txn: PlainTxn) => void): void {
    this.#root.transactionSync(() => {
      work({
        put: (dbi, key, value) => {
          this.#open(dbi).putSync(bytes(key), bytes(value));
        },
        remove: (dbi, key, value) => {
          if (value === undefined) {
            this.#open(dbi).removeSync(bytes(key));
          } else {
            this.#open(dbi).removeSync(bytes(key), bytes(value) as never);
          }
        },
        drop: (dbi) => {
          this.#open(dbi).dropSync();
          this.#dbis.delete(dbi);
        },
      });
    });
  }

  put(dbi: string, key: Text, value: Text): void {
    this.write((txn) => txn.put(dbi, key, value));
  }

  remove(dbi: string, key: Text, value?: Text): void {
    this.write((txn) => txn.remove(dbi, key, value));
  }

  async close(): Promise<void> {
    await this.#root.close();
  }

  #open(name: string, dupSort = false): Bytes {
    let dbi = this.#dbis.get(name);
    if (dbi === undefined) {
      const options = { name, keyEncoding: 'binary', encoding: 'binary', dupSort };
      dbi = this.#root.openDB<Buffer, Buffer>(options as never);
      this.#dbis.set(name, dbi);
    }
    return dbi;
  }
}

/** The agent's side of a file whose application keeps no headers, in this thread. */
export function shadowDatabase(
  file: string,
  overrides: Partial<DatabaseOptions> & { clock: Clock },
): LocalDatabase {
  const { clock, ...rest } = overrides;
  return new DirectLocalDatabase(
    databaseOptions(file, { schemaTracksChanges: false, ...rest }),
    clock,
  );
}

/** One entry of a dump, as the fixtures' JSON has it: hex; a register has a time and flags. */
export type DumpEntry = {
  readonly key: string;
  readonly value: string;
  readonly timestampNano?: string;
  readonly flags?: number;
};

export type DumpedDbi = {
  readonly name: string;
  readonly flags: number;
  readonly entries: DumpEntry[];
};

/** Everything that a file holds but `_sync_state`, with the registers taken apart. */
export function dumpLmdb(file: string): DumpedDbi[] {
  using data = DataFile.open(file);
  const dump: DumpedDbi[] = [];
  for (const [name, record] of listDbis(data, data.readMeta())) {
    if (name === '_sync_state') {
      continue;
    }
    const entries: DumpEntry[] = [];
    const cursor = new PageCursor(data, record);
    while (cursor.next()) {
      const key = cursor.keyBuffer.toString('hex', cursor.keyStart, cursor.keyEnd);
      const value = Buffer.from(cursor.valueBuffer.subarray(cursor.valueStart, cursor.valueEnd));
      entries.push(
        name.startsWith('_sync_') ? register(key, value) : { key, value: value.toString('hex') },
      );
    }
    dump.push({ name, flags: record.flags, entries });
  }
  return dump;
}

/** A dump as short text: DBI, key, value; registers as `value@time`, deletions as `x@time`. Keys and values as latin1. */
export function dumpText(file: string): Record<string, Record<string, string>> {
  const dump: Record<string, Record<string, string>> = {};
  for (const { name, entries } of dumpLmdb(file)) {
    const texts: Record<string, string> = {};
    for (const { key, value, timestampNano, flags } of entries) {
      const text = Buffer.from(value, 'hex').toString('latin1');
      const at = timestampNano === undefined ? '' : `@${timestampNano}`;
      const keyText = Buffer.from(key, 'hex').toString('latin1');
      const before = texts[keyText];
      texts[keyText] =
        `${before === undefined ? '' : `${before},`}${flags === 1 ? 'x' : text}${at}`;
    }
    dump[name] = texts;
  }
  return dump;
}

function register(key: string, value: Buffer): DumpEntry {
  const { timestampNs, flags, headerLength } = parseValueHeader(value);
  const timestampNano = String(timestampNs);
  return { key, timestampNano, flags, value: value.toString('hex', headerLength) };
}

function bytes(text: Text): Buffer {
  return typeof text === 'string' ? Buffer.from(text, 'latin1') : text;
}

/** One LMDB in a folder of its own, the plain application that writes it, the agent's side, and a clock. */
export class ShadowHost {
  readonly folder = scratchFolder();
  readonly file = path.join(this.folder, 'test.mdb');
  readonly clock = new FakeClock();
  readonly application = new PlainApplication(this.file);
  #open = new Set<LocalDatabase>();
  #seq = 0n;

  /** The clock's time now. */
  get now(): bigint {
    return this.clock.nowNs();
  }

  async opened(
    overrides: Partial<DatabaseOptions> = {},
  ): Promise<{ db: LocalDatabase; result: OpenResult }> {
    const db = shadowDatabase(this.file, { clock: this.clock, ...overrides });
    this.#open.add(db);
    return { db, result: await db.open() };
  }

  async start(overrides: Partial<DatabaseOptions> = {}): Promise<LocalDatabase> {
    const { db } = await this.opened(overrides);
    return db;
  }

  /** Ends the agent's side as a kill would: nothing more is written. */
  async kill(db: LocalDatabase): Promise<void> {
    this.#open.delete(db);
    await db.close();
  }

  /** Sends a delta of what is pending; returns its content. */
  async sendDelta(db: LocalDatabase): Promise<Record<string, Record<string, string>>> {
    const spool = await this.encode(db, 'delta');
    return spool === undefined ? {} : readEncoded(spool);
  }

  /** Encodes and acknowledges the next object; undefined: there is nothing to send. */
  async encode(db: LocalDatabase, kind: 'delta' | 'snapshot'): Promise<Spool | undefined> {
    this.#seq += 1n;
    const options = { seq: this.#seq, timeNs: this.#seq };
    const { object } =
      kind === 'delta' ? await db.encodeDelta(options) : await db.encodeSnapshot(options);
    if (object === undefined) {
      return undefined;
    }
    await db.acknowledge(object.token);
    return object.spool;
  }

  merge(db: LocalDatabase, content: ObjectContent): Promise<MergeResult> {
    return db.merge({ name: 'remote', spool: objectSpool(content), vector: new Map() });
  }

  dump(): Record<string, Record<string, string>> {
    return dumpText(this.file);
  }

  async close(): Promise<void> {
    for (const db of this.#open) {
      await db.close();
    }
    await this.application.close();
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}
