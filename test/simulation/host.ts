import fs from 'node:fs';
import path from 'node:path';
import { DataFile, listDbis } from '../../agent/lmdb/pages/data-file.ts';
import { SavedVector } from '../../agent/lmdb/saved-vector.ts';
import { SYNC_STATE_DBI } from '../../agent/lmdb/state-value.ts';
import type { Register } from '../../protocol/register.ts';
import type { VersionVector } from '../../protocol/version-vector.ts';
import { Application, dumpEntries, lastTxn } from '../support/lmdb.ts';
import type { AgentRun } from './agent-run.ts';
import { equal, type Content } from './ledger.ts';
import { HostClock, type WorldClock } from './time/world-clock.ts';

/** What the application of a host last committed by key; goes with the LMDB wherever that goes. */
type Backup = { readonly file: string; readonly committed: Content };

/** One host: its LMDB, its application, its clock, and the agent that may run beside it. */
export class Host {
  readonly label: string;
  readonly instance: string;
  readonly clock: HostClock;
  readonly file: string;
  run: AgentRun | undefined;
  /** The last write of each key that must not be lost. */
  committed: Content = new Map();
  backup: Backup | undefined;
  /** The application has removed keys or written losers: a look of the agent must come before it may end. */
  mustLook = false;
  #application: Application;
  #told: { run: AgentRun | undefined; txnId: number } = { run: undefined, txnId: -1 };

  constructor(options: { folder: string; label: string; instance: string; clock: WorldClock }) {
    this.label = options.label;
    this.instance = options.instance;
    this.clock = new HostClock(options.clock);
    this.file = path.join(options.folder, `${options.label}.mdb`);
    this.#application = new Application(this.file);
  }

  get isUp(): boolean {
    return this.run !== undefined;
  }

  /** Commits these registers in one transaction. */
  commit(registers: ReadonlyMap<string, Register>): void {
    this.#application.write((txn) => {
      for (const [key, { timestampNs, value, deleted }] of registers) {
        const [dbi, name] = splitKey(key);
        txn.put(dbi, name, { ts: timestampNs, value: Buffer.from(value), deleted });
      }
    });
  }

  remove(key: string): void {
    const [dbi, name] = splitKey(key);
    this.#application.remove(dbi, name);
  }

  /** Tells the agent of the last transaction, once, as the watcher of the file does. */
  tellChange(): void {
    const { run } = this;
    const txnId = lastTxn(this.file);
    if (run === undefined || (this.#told.run === run && this.#told.txnId === txnId)) {
      return;
    }
    this.#told = { run, txnId };
    run.engine.noteChange(txnId);
  }

  /** All entries now. */
  dump(): Content {
    return readContent(this.file);
  }

  /** The version vector that goes with the LMDB. */
  savedVector(): VersionVector {
    using data = DataFile.open(this.file);
    const record = listDbis(data, data.readMeta()).get(SYNC_STATE_DBI);
    return SavedVector.read(data, record).positions;
  }

  saveBackup(): void {
    const file = `${this.file}.backup`;
    fs.copyFileSync(this.file, file);
    this.backup = { file, committed: new Map(this.committed) };
  }

  /** Replaces the LMDB by a copy of another file, or by nothing; no agent may run. */
  async replace(source: Backup | undefined): Promise<void> {
    await this.#application.close();
    fs.rmSync(`${this.file}-lock`, { force: true });
    fs.rmSync(this.file, { force: true });
    if (source !== undefined) {
      fs.copyFileSync(source.file, this.file);
    }
    this.committed = new Map(source?.committed);
    this.#application = new Application(this.file);
  }

  async close(): Promise<void> {
    await this.#application.close();
  }
}

export function readContent(file: string): Content {
  const content: Content = new Map();
  for (const [dbi, entries] of Object.entries(dumpEntries(file))) {
    for (const [key, { ts, value, deleted }] of Object.entries(entries)) {
      content.set(`${dbi}/${key}`, {
        timestampNs: ts,
        value: Buffer.from(value, 'latin1'),
        deleted,
      });
    }
  }
  return content;
}

/** Keys in which two states differ. */
export function differences(a: Content, b: Content): string[] {
  const keys = new Set([...a.keys(), ...b.keys()]);
  return [...keys].filter((key) => !equal(a.get(key), b.get(key))).toSorted();
}

/** DBI and key of a `DBI/key`. */
export function splitKey(key: string): [dbi: string, name: string] {
  const at = key.indexOf('/');
  return [key.slice(0, at), key.slice(at + 1)];
}
