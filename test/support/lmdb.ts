import fs from 'node:fs';
import path from 'node:path';
import { open, type Database, type RootDatabase } from 'lmdb';
import { DirectLocalDatabase } from '../../agent/lmdb/thread/direct-database.ts';
import type { DatabaseOptions, LocalDatabase } from '../../agent/lmdb/local-database.ts';
import { DataFile, listDbis } from '../../agent/lmdb/pages/data-file.ts';
import { PageCursor } from '../../agent/lmdb/pages/cursor.ts';
import { readSpool, type Spool } from '../../agent/spool.ts';
import { readSnapshot } from '../../protocol/snapshot-reader.ts';
import { SnapshotWriter } from '../../protocol/snapshot-writer.ts';
import { entryView, type SnapshotMeta } from '../../protocol/snapshot.ts';
import { headerLengthAt, writeValueHeader } from '../../protocol/value-header.ts';
import { gzipSync } from 'node:zlib';
import { CollectingSink } from './fixtures.ts';
import { FakeClock } from './fake-clock.ts';

/** Memory, where there is such a folder: real commits without a disk's latency. */
const SCRATCH = fs.existsSync('/dev/shm') ? '/dev/shm' : '/tmp';

/** A folder of its own for one test file; remove it in afterAll. */
export function scratchFolder(): string {
  return fs.mkdtempSync(path.join(SCRATCH, 'lightningstream-test-'));
}

/** One native value as an application writes it; `txn` is filled in with its transaction unless given. */
export type NativeEntry = {
  readonly value?: string | Buffer | undefined;
  readonly ts: number | bigint;
  readonly deleted?: boolean | undefined;
  readonly txn?: number | undefined;
  /** Stored as they are, without any header. */
  readonly raw?: Buffer | undefined;
};

type Bytes = Database<Buffer, Buffer>;
type NativeRoot = RootDatabase<Buffer, Buffer> & { getWriteTxnId(): number };

/** What an application does in one transaction. */
export interface AppTxn {
  put(dbi: string, key: string | Buffer, entry: NativeEntry): void;
  remove(dbi: string, key: string | Buffer): void;
  drop(dbi: string): void;
}

/**
 * The application beside the agent: another environment on the same file, in this process. LMDB allows that only
 * because of two habits: it is opened before the agent's and closed after it (opening resets the lock table where
 * no other process holds it), and it never reads.
 */
export class Application {
  readonly #path: string;
  readonly #mapSize: number;
  readonly #root: NativeRoot;
  readonly #dbis = new Map<string, Bytes>();

  constructor(file: string, options: { mapSize?: number } = {}) {
    this.#path = file;
    this.#mapSize = options.mapSize ?? 256 * 1024 ** 2;
    this.#root = open({
      path: this.#path,
      noSubdir: true,
      keyEncoding: 'binary',
      encoding: 'binary',
      cache: false,
      overlappingSync: false,
      noSync: true,
      maxDbs: 32,
      mapSize: this.#mapSize,
    } as never) as NativeRoot;
  }

  /** Runs one write transaction and returns its id. */
  write(work: (txn: AppTxn) => void): number {
    return this.#root.transactionSync(() => {
      const txnId = this.#root.getWriteTxnId();
      work({
        put: (dbi, key, entry) => {
          this.#dbi(dbi).putSync(bytes(key), nativeValue(entry, txnId));
        },
        remove: (dbi, key) => {
          this.#dbi(dbi).removeSync(bytes(key));
        },
        drop: (dbi) => {
          this.#dbi(dbi).dropSync();
          this.#dbis.delete(dbi);
        },
      });
      return txnId;
    });
  }

  /** Puts one entry in a transaction of its own. */
  put(dbi: string, key: string | Buffer, entry: NativeEntry): number {
    return this.write((txn) => txn.put(dbi, key, entry));
  }

  /** Removes one key in a transaction of its own. */
  remove(dbi: string, key: string | Buffer): number {
    return this.write((txn) => txn.remove(dbi, key));
  }

  /** Makes a DBI with options of the binding: `keyEncoding: 'uint32'` for INTEGERKEY, `dupSort`. */
  createDbi(dbi: string, options: Record<string, unknown> = {}): void {
    this.#root.openDB({
      name: dbi,
      keyEncoding: 'binary',
      encoding: 'binary',
      ...options,
    } as never);
  }

  /** A compacted copy, as `mdb_copy -c` makes it: its transactions count from 1 again. */
  async copyCompact(target: string): Promise<void> {
    await this.#root.backup(target, true);
  }

  async close(): Promise<void> {
    await this.#root.close();
  }

  #dbi(name: string): Bytes {
    let dbi = this.#dbis.get(name);
    if (dbi === undefined) {
      dbi = this.#root.openDB<Buffer, Buffer>({
        name,
        keyEncoding: 'binary',
        encoding: 'binary',
      } as never);
      this.#dbis.set(name, dbi);
    }
    return dbi;
  }
}

/** Header and application value. */
export function nativeValue(entry: NativeEntry, txnId: number): Buffer {
  if (entry.raw !== undefined) {
    return entry.raw;
  }
  const value = Buffer.from(entry.value ?? '');
  const ts = BigInt(entry.ts);
  const whole = Buffer.alloc(32 + value.length);
  const length = writeValueHeader(whole, 0, {
    timeHi: Number(ts >> 32n),
    timeLo: Number(ts & 0xffff_ffffn),
    txnId: entry.txn ?? txnId,
    flags: entry.deleted === true ? 1 : 0,
  });
  value.copy(whole, length);
  return whole.subarray(0, length + value.length);
}

/** An entry of a dump; `txn` is the header's transaction id. */
export type DumpedEntry = { ts: bigint; value: string; deleted: boolean; txn: number };

/** What an LMDB file holds, without the private DBIs: DBI, key (latin1), entry; values without a header as `raw:<hex>`. */
export function dumpEntries(file: string): Record<string, Record<string, DumpedEntry>> {
  const dump: Record<string, Record<string, DumpedEntry>> = {};
  for (const [dbi, entries] of Object.entries(dumpRaw(file))) {
    if (dbi.startsWith('_sync')) {
      continue;
    }
    dump[dbi] = {};
    for (const [key, value] of Object.entries(entries)) {
      dump[dbi][key] = parseNative(value);
    }
  }
  return dump;
}

/** The same with the whole values, private DBIs included. */
export function dumpRaw(file: string): Record<string, Record<string, Buffer>> {
  using data = DataFile.open(file);
  const dump: Record<string, Record<string, Buffer>> = {};
  for (const [name, record] of listDbis(data, data.readMeta())) {
    const entries: Record<string, Buffer> = {};
    const cursor = new PageCursor(data, record);
    while (cursor.next()) {
      const key = cursor.keyBuffer.toString('latin1', cursor.keyStart, cursor.keyEnd);
      entries[key] = Buffer.from(cursor.valueBuffer.subarray(cursor.valueStart, cursor.valueEnd));
    }
    dump[name] = entries;
  }
  return dump;
}

/** The flags of each DBI of a file. */
export function dbiFlags(file: string): Record<string, number> {
  using data = DataFile.open(file);
  const dbis = [...listDbis(data, data.readMeta())];
  return Object.fromEntries(dbis.map(([name, record]) => [name, record.flags]));
}

/** The last transaction of a file. */
export function lastTxn(file: string): number {
  using data = DataFile.open(file);
  return data.readMeta().txnId;
}

function parseNative(value: Buffer): DumpedEntry {
  try {
    const length = headerLengthAt(value, 0, value.length);
    return {
      ts: value.readBigUInt64BE(0),
      value: value.toString('latin1', length),
      deleted: ((value[17] ?? 0) & 1) === 1,
      txn: Number(value.readBigUInt64BE(8)),
    };
  } catch {
    return { ts: 0n, value: `raw:${value.toString('hex')}`, deleted: false, txn: 0 };
  }
}

/** The content of a snapshot or delta: DBI, key, entry. */
export type ObjectContent = Record<
  string,
  { flags?: number; transform?: string; entries: Record<string, Omit<NativeEntry, 'raw' | 'txn'>> }
>;

const REMOTE_META: SnapshotMeta = {
  generationId: 'Gremote',
  instance: 'remote',
  hostname: 'host',
  lmdbTxnId: 7n,
  timestampNs: 1n,
  databaseName: 'main',
  fromLmdbTxnId: 0n,
  run: 'remote',
  seq: 1n,
};

/** The bytes of an object of another instance. */
export function objectBytes(content: ObjectContent): Buffer {
  const blocks: Uint8Array[] = [];
  const writer = new SnapshotWriter((block) => blocks.push(block), { takesLongKeys: true });
  writer.begin(REMOTE_META);
  for (const [name, { flags = 0, transform = '', entries }] of Object.entries(content)) {
    writer.beginDbi({ name, flags, transform });
    for (const [key, entry] of Object.entries(entries)) {
      const view = entryView({
        key: Buffer.from(key, 'latin1'),
        value: Buffer.from(entry.value ?? ''),
        timestampNs: BigInt(entry.ts),
        deleted: entry.deleted === true,
      });
      writer.entry(view);
    }
    writer.endDbi();
  }
  writer.end();
  return gzipSync(Buffer.concat(blocks), { level: 1 });
}

/** An object of another instance, ready to be merged. */
export function objectSpool(content: ObjectContent): Spool {
  return { kind: 'memory', bytes: objectBytes(content) };
}

/** What an encoded object holds: DBI, key (latin1), `value@time`, deletions as `x@time`. */
export async function readEncoded(spool: Spool): Promise<Record<string, Record<string, string>>> {
  const sink = await readEncodedSink(spool);
  const content: Record<string, Record<string, string>> = {};
  for (const dbi of sink.dbis) {
    const entries: Record<string, string> = {};
    for (const { key, value, timestampNano, flags } of dbi.entries) {
      const text = flags === 1 ? 'x' : Buffer.from(value, 'hex').toString('latin1');
      entries[Buffer.from(key, 'hex').toString('latin1')] = `${text}@${timestampNano}`;
    }
    content[dbi.name] = entries;
  }
  return content;
}

/** The decoded object with its Meta. */
export async function readEncodedSink(spool: Spool): Promise<CollectingSink> {
  const sink = new CollectingSink();
  await readSnapshot(readSpool(spool), sink);
  return sink;
}

/** Options of an agent's database with a long lock and little memory; give what the test is about. */
export function databaseOptions(
  file: string,
  overrides: Partial<DatabaseOptions> = {},
): DatabaseOptions {
  return {
    name: 'main',
    path: file,
    noSubdir: true,
    create: true,
    dirMask: 0o775,
    fileMask: 0o664,
    mapSizeBytes: 256 * 1024 ** 2,
    maxDbs: 32,
    instance: 'a',
    hostname: 'host-a',
    run: 'runa',
    headerPadding: false,
    maxLockHoldMs: 250,
    maxClockSkewMs: 60_000,
    spoolFolder: path.dirname(file),
    spoolMemoryBytes: 16 * 1024 ** 2,
    pendingBytesMax: 16 * 1024 ** 2,
    ...overrides,
  };
}

/** The agent's side of one file, in this thread. */
export function localDatabase(
  file: string,
  overrides: Partial<DatabaseOptions> = {},
): LocalDatabase {
  return new DirectLocalDatabase(databaseOptions(file, overrides), new FakeClock());
}

function bytes(key: string | Buffer): Buffer {
  return typeof key === 'string' ? Buffer.from(key, 'latin1') : key;
}
