import { open, type Database, type RootDatabase } from 'lmdb';

/**
 * An application with a native schema: every value begins with the header of docs/format.md, a delete is a
 * tombstone, nothing is ever removed. It stands for PowerDNS in the demo, the integration tests and the
 * benchmarks, so it shares no code with the agent: both sides of the header are then checked against each other.
 */
export class Application implements Disposable {
  readonly #root: RootDatabase;
  readonly #dbis = new Map<string, Database>();

  private constructor(root: RootDatabase) {
    this.#root = root;
  }

  /** Opens the LMDB file, creating it where it is missing. */
  static open(path: string, options: ApplicationOptions = {}): Application {
    const root = open({
      path,
      ...RAW,
      noSubdir: true,
      overlappingSync: false,
      maxDbs: 64,
      mapSize: options.mapSizeBytes ?? DEFAULT_MAP_BYTES,
      noSync: options.noSync ?? false,
    });
    return new Application(root);
  }

  /** Writes all of it in one transaction and returns once that is committed. */
  write(writes: Iterable<Write>, options: WriteOptions = {}): void {
    const dbi = this.#dbi(options.dbi ?? DEMO_DBI);
    const timestampNs = options.timestampNs ?? wallClockNs();
    this.#root.transactionSync(() => {
      const txnId = BigInt((this.#root as unknown as WithTxnId).getWriteTxnId());
      for (const { key, value } of writes) {
        dbi.putSync(Buffer.from(key), encodeValue({ timestampNs, txnId, value }));
      }
    });
  }

  /** What a reader sees now; undefined: the key was never written. */
  read(key: string, dbiName = DEMO_DBI): Stored | undefined {
    const dbi = this.#dbi(dbiName);
    // Without this the binding would go on reading in the transaction of the last read.
    dbi.resetReadTxn();
    const bytes = dbi.getBinary(Buffer.from(key));
    return bytes === undefined ? undefined : decodeValue(bytes);
  }

  /** All entries, tombstones included. */
  *entries(dbiName = DEMO_DBI): Generator<Stored & { readonly key: string }> {
    const dbi = this.#dbi(dbiName);
    dbi.resetReadTxn();
    for (const { key, value } of dbi.getRange({})) {
      yield { key: (key as unknown as Buffer).toString(), ...decodeValue(value as Buffer) };
    }
  }

  /** How many keys there are, tombstones included. */
  count(dbiName = DEMO_DBI): number {
    const dbi = this.#dbi(dbiName);
    dbi.resetReadTxn();
    return (dbi.getStats() as { entryCount: number }).entryCount;
  }

  [Symbol.dispose](): void {
    void this.#root.close();
  }

  #dbi(name: string): Database {
    const known = this.#dbis.get(name);
    if (known !== undefined) {
      return known;
    }
    const opened = this.#root.openDB({ name, ...RAW });
    this.#dbis.set(name, opened);
    return opened;
  }
}

export type ApplicationOptions = {
  readonly mapSizeBytes?: number | undefined;
  /** No flush to disk at commit: for filling large databases fast. */
  readonly noSync?: boolean | undefined;
};

/** The binding has this method, its types do not: the id of the transaction that is open. */
type WithTxnId = { getWriteTxnId(): number };

/** A missing value is a delete. */
export type Write = { readonly key: string; readonly value: string | undefined };

export type WriteOptions = {
  readonly dbi?: string | undefined;
  readonly timestampNs?: bigint | undefined;
};

export type Stored = {
  readonly value: string;
  readonly deleted: boolean;
  readonly timestampNs: bigint;
};

/** The DBI that is written where no other is named. */
const DEMO_DBI = 'records';

const RAW = { keyEncoding: 'binary', encoding: 'binary', cache: false } as const;
const DEFAULT_MAP_BYTES = 256 * 1024 * 1024;
const HEADER_BYTES = 24;
const DELETED = 1;

/** Nanoseconds since 1970, from a clock that never shows the same moment twice in this process. */
export function wallClockNs(): bigint {
  const now = BigInt(Math.round((performance.timeOrigin + performance.now()) * 1e6));
  lastClockNs = now > lastClockNs ? now : lastClockNs + 1n;
  return lastClockNs;
}
let lastClockNs = 0n;

function encodeValue(entry: {
  timestampNs: bigint;
  txnId: bigint;
  value: string | undefined;
}): Buffer {
  const value = Buffer.from(entry.value ?? '');
  const bytes = Buffer.alloc(HEADER_BYTES + value.length);
  bytes.writeBigUInt64BE(entry.timestampNs, 0);
  bytes.writeBigUInt64BE(entry.txnId, 8);
  bytes[17] = entry.value === undefined ? DELETED : 0;
  value.copy(bytes, HEADER_BYTES);
  return bytes;
}

function decodeValue(bytes: Buffer): Stored {
  const headerBytes = HEADER_BYTES + 8 * bytes.readUInt16BE(22);
  return {
    timestampNs: bytes.readBigUInt64BE(0),
    deleted: ((bytes[17] ?? 0) & DELETED) !== 0,
    value: bytes.toString('utf8', headerBytes),
  };
}
