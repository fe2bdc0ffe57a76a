import fs from 'node:fs';
import path from 'node:path';
import type {
  DatabaseOptions,
  EncodedObject,
  LocalDatabase,
  MergeResult,
  OpenResult,
} from '../../agent/lmdb/local-database.ts';
import { streamOf } from '../../protocol/object-name.ts';
import type { VersionVector } from '../../protocol/version-vector.ts';
import {
  Application,
  dumpEntries,
  localDatabase,
  objectSpool,
  readEncoded,
  scratchFolder,
  type DumpedEntry,
} from './lmdb.ts';

export const REMOTE_STREAM = streamOf('b', 'runb');
export const OWN_STREAM = streamOf('a', 'runa');

/** One LMDB in a folder of its own, the application that writes it, and the agent's side. */
export class LmdbHost {
  readonly folder = scratchFolder();
  readonly file = path.join(this.folder, 'test.mdb');
  application = new Application(this.file);
  #open = new Set<LocalDatabase>();
  #seq = 0n;

  /** Starts the agent's side. */
  async start(overrides: Partial<DatabaseOptions> = {}): Promise<LocalDatabase> {
    const { db } = await this.opened(overrides);
    return db;
  }

  /** The same, with what the start found. */
  async opened(
    overrides: Partial<DatabaseOptions> = {},
  ): Promise<{ db: LocalDatabase; result: OpenResult }> {
    const db = localDatabase(this.file, overrides);
    this.#open.add(db);
    return { db, result: await db.open() };
  }

  /** Ends the agent's side as a kill would: nothing more is written. */
  async kill(db: LocalDatabase): Promise<void> {
    this.#open.delete(db);
    await db.close();
  }

  /** Puts another file in the place of the LMDB. Nobody has it open meanwhile. */
  async replaceFile(work: () => void | Promise<void>): Promise<void> {
    await this.application.close();
    await work();
    this.application = new Application(this.file);
  }

  async close(): Promise<void> {
    for (const db of this.#open) {
      await db.close();
    }
    await this.application.close();
    fs.rmSync(this.folder, { recursive: true, force: true });
  }

  /** Number and time of the next object. */
  next(): { seq: bigint; timeNs: bigint } {
    this.#seq += 1n;
    return { seq: this.#seq, timeNs: this.#seq };
  }

  /** Sends a delta of what is pending; returns its content. */
  async sendDelta(db: LocalDatabase): Promise<Record<string, Record<string, string>>> {
    const { object: encoded } = await db.encodeDelta(this.next());
    if (encoded === undefined) {
      return {};
    }
    const content = await readEncoded(encoded.spool);
    await db.acknowledge(encoded.token);
    return content;
  }

  /** Sends a full snapshot and saves the marker. */
  async sendAll(db: LocalDatabase, vector: VersionVector = new Map()): Promise<EncodedObject> {
    const { object: encoded } = await db.encodeSnapshot(this.next());
    if (encoded === undefined) {
      throw new Error('there is nothing to send');
    }
    await db.acknowledge(encoded.token);
    await db.persist({ vector });
    return encoded;
  }

  /** Merges an object with one entry of DBI `zones`. */
  merge(
    db: LocalDatabase,
    key: string,
    entry: { value?: string; ts: number; deleted?: boolean; seq?: bigint },
  ): Promise<MergeResult> {
    return db.merge({
      name: 'object',
      spool: objectSpool({ zones: { entries: { [key]: entry } } }),
      vector: new Map([[REMOTE_STREAM, entry.seq ?? 1n]]),
    });
  }

  /** The entries of DBI `zones`. */
  zones(): Record<string, DumpedEntry> {
    return this.dbi('zones');
  }

  /** The entries of a DBI; none if there is no such DBI. */
  dbi(name: string): Record<string, DumpedEntry> {
    return dumpEntries(this.file)[name] ?? {};
  }
}
