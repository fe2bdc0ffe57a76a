import type { RefusedDbi } from '../local-database.ts';
import { listDbis, type DataFile, type Meta } from '../pages/data-file.ts';
import { describeDisorder } from '../pages/disorder.ts';
import { isDbiOrdered } from '../pages/diff.ts';
import { shadowDbiName } from '../../../protocol/dbi-name.ts';

type Refused = RefusedDbi & {
  /** Local changes of later transactions are in no stored object; undefined: none is. */
  readonly uploadedTxn: number | undefined;
  /** Entries when its cause was found out; with twice as many it is found out again. */
  readonly entries: number;
};

/**
 * The DBIs of the application that are not in the order of their flags. Whatever is looked up in one may be missed, and
 * what is written damages it further. So nothing of it is sent, merged or put back until it is in order again.
 *
 * A diff or a walk finds one and has it left alone at once ({@link suspect}). Why, and whether it is in order again, is
 * found out by reading all of it, where no lock is held ({@link review}).
 */
export class RefusedDbis {
  readonly #refused = new Map<string, Refused>();
  readonly #suspects = new Map<string, number | undefined>();
  /** Those that have changed since they were looked at. */
  readonly #changed = new Set<string>();
  /** Suspects, of which whoever keeps changes has not forgotten what it knew. */
  #news: string[] = [];
  #version = 0;

  /** Goes up with every DBI that is found. */
  get version(): number {
    return this.#version;
  }

  get list(): readonly RefusedDbi[] {
    return [...this.#refused.values()].map(({ name, what, cause }) => ({ name, what, cause }));
  }

  /** What is written down of them: the marker that each of them had. */
  get markers(): ReadonlyMap<string, number | undefined> {
    const refused = [...this.#refused.values()].map((dbi) => [dbi.name, dbi.uploadedTxn] as const);
    return new Map([...refused, ...this.#suspects]);
  }

  /** True for a DBI of the application that is to be left alone. */
  has(dbiName: string): boolean {
    return this.#refused.has(dbiName) || this.#suspects.has(dbiName);
  }

  /** From now on it is left alone. `uploadedTxn`: the marker of now. */
  suspect(dbiName: string, uploadedTxn: number | undefined): void {
    if (this.has(dbiName)) {
      this.#changed.add(dbiName);
      return;
    }
    this.#suspects.set(dbiName, uploadedTxn);
    this.#news.push(dbiName);
    this.#version += 1;
  }

  /** A diff has left out changes of it. */
  noteChange(dbiName: string): void {
    this.#changed.add(dbiName);
  }

  takeNews(): readonly string[] {
    const news = this.#news;
    this.#news = [];
    return news;
  }

  /**
   * Reads those that may have become others, as of a pinned state. Returns those that are in order again, each with the
   * marker that it had: they are no longer refused.
   */
  review(file: DataFile, meta: Meta): ReadonlyMap<string, number | undefined> {
    const accepted = new Map<string, number | undefined>();
    for (const [name, uploadedTxn] of this.#suspects) {
      this.#suspects.delete(name);
      if (!this.#describe(file, meta, { name, uploadedTxn })) {
        accepted.set(name, uploadedTxn);
      }
    }
    for (const name of this.#changed) {
      const known = this.#refused.get(name);
      if (known === undefined) {
        continue;
      }
      // Stops at the first place that is out of order: as long as there is one, this costs little.
      if (recordsOf(file, meta, name).every((record) => isDbiOrdered(file, record))) {
        this.#refused.delete(name);
        accepted.set(name, known.uploadedTxn);
      } else if (entriesOf(file, meta, name) >= 2 * known.entries) {
        this.#describe(file, meta, known);
      }
    }
    this.#changed.clear();
    return accepted;
  }

  /** What {@link review} accepted is refused all the same: what had to be done first failed. */
  takeBack(accepted: ReadonlyMap<string, number | undefined>): void {
    for (const [name, uploadedTxn] of accepted) {
      this.#suspects.set(name, uploadedTxn);
    }
  }

  /** True: it is refused, with a cause. */
  #describe(
    file: DataFile,
    meta: Meta,
    { name, uploadedTxn }: { name: string; uploadedTxn: number | undefined },
  ): boolean {
    for (const record of recordsOf(file, meta, name)) {
      const disorder = describeDisorder(file, record);
      if (disorder !== undefined) {
        const entries = entriesOf(file, meta, name);
        this.#refused.set(name, { name, ...disorder, uploadedTxn, entries });
        return true;
      }
    }
    return false;
  }
}

/** A DBI of the application, and the shadow DBI beside it. */
function recordsOf(file: DataFile, meta: Meta, name: string) {
  const dbis = listDbis(file, meta);
  return [dbis.get(name), dbis.get(shadowDbiName(name))].filter((record) => record !== undefined);
}

function entriesOf(file: DataFile, meta: Meta, name: string): number {
  return recordsOf(file, meta, name).reduce((sum, { entries }) => sum + entries, 0);
}
