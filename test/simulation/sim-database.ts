import fs from 'node:fs';
import { DataFile, listDbis } from '../../agent/lmdb/pages/data-file.ts';
import { PageCursor } from '../../agent/lmdb/pages/cursor.ts';
import { readSyncState, SYNC_STATE_DBI, type SyncState } from '../../agent/lmdb/sync-state.ts';
import type { Register } from '../../protocol/register.ts';
import { parseValueHeader } from '../../protocol/value-header.ts';
import { Application, lastTxn } from '../support/lmdb.ts';
import { PlainApplication } from '../support/shadow.ts';
import { readContent, splitKey } from './host.ts';
import type { Content } from './ledger.ts';

export type Schema = 'native' | 'shadow';

/** What a plain application has committed last at a key, and whether an agent was there to see it. */
export type PlainWrite = {
  readonly value: string | undefined;
  readonly atNs: bigint;
  readonly watched: boolean;
};

/** What must not be lost of the application's writes; goes with the LMDB wherever that goes. */
type Promises = { readonly committed: Content; readonly plain: Map<string, PlainWrite> };
type Backup = Promises & { readonly file: string };

/** An entry with a key that no object can carry. */
const TOO_LONG = `other/${'L'.repeat(600)}`;
const SHADOW_PREFIX = '_sync_shadow_';

/** One LMDB of one host and its application. */
export class SimDatabase {
  readonly name: string;
  readonly label: string;
  readonly file: string;
  readonly schema: Schema;
  /** The last write of each key that must not be lost; of native applications. */
  committed: Content = new Map();
  plain = new Map<string, PlainWrite>();
  backup: Backup | undefined;
  /** The application has removed keys or written losers: a look of the agent must come before it may end. */
  mustLook = false;
  mapSizeBytes: number;
  #native: Application | undefined;
  #plainApp: PlainApplication | undefined;

  constructor(options: {
    name: string;
    label: string;
    file: string;
    schema: Schema;
    mapSizeBytes: number;
  }) {
    this.name = options.name;
    this.label = options.label;
    this.file = options.file;
    this.schema = options.schema;
    this.mapSizeBytes = options.mapSizeBytes;
    this.#open();
  }

  /** A native application commits these registers in one transaction. */
  commit(registers: ReadonlyMap<string, Register>): void {
    this.#requireNative().write((txn) => {
      for (const [key, { timestampNs, value, deleted }] of registers) {
        const [dbi, name] = splitKey(key);
        txn.put(dbi, name, { ts: timestampNs, value: Buffer.from(value), deleted });
      }
    });
  }

  /** A plain one commits values; undefined: removes the key. */
  commitPlain(values: ReadonlyMap<string, string | undefined>): void {
    if (this.#plainApp === undefined) {
      throw new Error('not a plain application');
    }
    this.#plainApp.write((txn) => {
      for (const [key, value] of values) {
        const [dbi, name] = splitKey(key);
        if (value === undefined) {
          txn.remove(dbi, name);
        } else {
          txn.put(dbi, name, value);
        }
      }
    });
  }

  /** An entry with a key that no object can carry; {@link dump} leaves it out. */
  commitTooLong(timestampNs: bigint): void {
    const [dbi, key] = splitKey(TOO_LONG);
    this.#native?.put(dbi, key, { ts: timestampNs, value: 'long' });
    this.#plainApp?.put(dbi, key, String(timestampNs));
  }

  remove(key: string): void {
    const [dbi, name] = splitKey(key);
    this.#requireNative().remove(dbi, name);
  }

  /**
   * Drops the whole DBI that a key is in, and makes it anew at once. In one process handles are shared with the agent: the
   * number that LMDB frees must be given to the same name again, before anybody opens another DBI.
   */
  dropDbi(key: string): void {
    const [dbi] = splitKey(key);
    const application = this.#requireNative();
    application.write((txn) => txn.drop(dbi));
    application.createDbi(dbi);
  }

  get lastTxn(): number {
    return lastTxn(this.file);
  }

  /** All registers now, tombstones included; but what no object can carry. */
  dump(): Content {
    const content = this.schema === 'native' ? readContent(this.file) : readShadow(this.file);
    if (this.schema === 'native') {
      content.delete(TOO_LONG);
    }
    return content;
  }

  /** What a plain application reads. */
  dumpPlain(): Map<string, string> {
    const content = new Map<string, string>();
    eachEntry(this.file, (dbi, key, value) => {
      if (!dbi.startsWith('_sync')) {
        content.set(`${dbi}/${key}`, value.toString('latin1'));
      }
    });
    return content;
  }

  get syncState(): SyncState {
    using data = DataFile.open(this.file);
    return readSyncState(data, listDbis(data, data.readMeta()).get(SYNC_STATE_DBI));
  }

  saveBackup(): void {
    const file = `${this.file}.backup`;
    fs.copyFileSync(this.file, file);
    this.backup = { file, committed: new Map(this.committed), plain: new Map(this.plain) };
  }

  /** Replaces the LMDB by a copy of another file, or by nothing; no agent may run. */
  async replace(source: Backup | undefined): Promise<void> {
    await this.close();
    fs.rmSync(`${this.file}-lock`, { force: true });
    fs.rmSync(this.file, { force: true });
    if (source !== undefined) {
      fs.copyFileSync(source.file, this.file);
    }
    this.committed = new Map(source?.committed);
    this.plain = new Map(source?.plain);
    this.#open();
  }

  /** The application is started again with a larger map; no agent may run in this process meanwhile. */
  async growMap(factor: number): Promise<void> {
    this.mapSizeBytes *= factor;
    await this.close();
    this.#open();
    // LMDB writes the new size with the next commit.
    const key =
      this.schema === 'native' ? undefined : new Map([['other/grown', String(this.mapSizeBytes)]]);
    if (key !== undefined) {
      this.commitPlain(key);
    }
  }

  async close(): Promise<void> {
    await this.#native?.close();
    await this.#plainApp?.close();
    this.#native = undefined;
    this.#plainApp = undefined;
  }

  #open(): void {
    const options = { mapSize: this.mapSizeBytes };
    if (this.schema === 'native') {
      this.#native = new Application(this.file, options);
    } else {
      this.#plainApp = new PlainApplication(this.file, options);
    }
  }

  #requireNative(): Application {
    if (this.#native === undefined) {
      throw new Error('not a native application');
    }
    return this.#native;
  }
}

function readShadow(file: string): Content {
  const content: Content = new Map();
  eachEntry(file, (dbi, key, value) => {
    if (!dbi.startsWith(SHADOW_PREFIX)) {
      return;
    }
    const { timestampNs, flags, headerLength } = parseValueHeader(value);
    const deleted = (flags & 1) === 1;
    content.set(`${dbi.slice(SHADOW_PREFIX.length)}/${key}`, {
      timestampNs,
      deleted,
      value: Buffer.from(value.subarray(headerLength)),
    });
  });
  return content;
}

function eachEntry(file: string, visit: (dbi: string, key: string, value: Buffer) => void): void {
  using data = DataFile.open(file);
  for (const [name, record] of listDbis(data, data.readMeta())) {
    const cursor = new PageCursor(data, record);
    while (cursor.next()) {
      const key = cursor.keyBuffer.toString('latin1', cursor.keyStart, cursor.keyEnd);
      if (`${name}/${key}` === TOO_LONG) {
        continue;
      }
      visit(
        name,
        key,
        Buffer.from(cursor.valueBuffer.subarray(cursor.valueStart, cursor.valueEnd)),
      );
    }
  }
}
