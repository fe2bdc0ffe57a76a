import type { RefusedDbi } from '../local-database.ts';
import type { Exchanged } from '../sync-state-text.ts';
import { listDbis, type DataFile, type Meta } from '../pages/data-file.ts';
import { describeDisorder } from '../pages/disorder.ts';
import { isDbiOrdered } from '../pages/diff.ts';
import { shadowDbiName } from '../../../protocol/dbi-name.ts';

type Refused = RefusedDbi & {
  readonly exchanged: Exchanged;
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
  readonly #suspects = new Map<string, Exchanged>();
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

  /** What is written down of them: what had been exchanged of each. */
  get exchanged(): ReadonlyMap<string, Exchanged> {
    const refused = [...this.#refused.values()].map((dbi) => [dbi.name, dbi.exchanged] as const);
    return new Map([...refused, ...this.#suspects]);
  }

  /** True for a DBI of the application that is to be left alone. */
  has(dbiName: string): boolean {
    return this.#refused.has(dbiName) || this.#suspects.has(dbiName);
  }

  /** From now on it is left alone. `exchanged`: as of now. */
  suspect(dbiName: string, exchanged: Exchanged): void {
    if (this.has(dbiName)) {
      this.#changed.add(dbiName);
      return;
    }
    this.#suspects.set(dbiName, exchanged);
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
   * Reads those that may have become others, as of a pinned state. Returns those that are in order again, each with what
   * had been exchanged of it: they are no longer refused.
   */
  review(file: DataFile, meta: Meta): ReadonlyMap<string, Exchanged> {
    const accepted = new Map<string, Exchanged>();
    for (const [name, exchanged] of this.#suspects) {
      this.#suspects.delete(name);
      if (!this.#describe(file, meta, { name, exchanged })) {
        accepted.set(name, exchanged);
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
        accepted.set(name, known.exchanged);
      } else if (entriesOf(file, meta, name) >= 2 * known.entries) {
        this.#describe(file, meta, known);
      }
    }
    this.#changed.clear();
    return accepted;
  }

  /** What {@link review} accepted is refused all the same: what had to be done first failed. */
  takeBack(accepted: ReadonlyMap<string, Exchanged>): void {
    for (const [name, exchanged] of accepted) {
      this.#suspects.set(name, exchanged);
    }
  }

  /** True: it is refused, with a cause. */
  #describe(
    file: DataFile,
    meta: Meta,
    { name, exchanged }: { name: string; exchanged: Exchanged },
  ): boolean {
    for (const record of recordsOf(file, meta, name)) {
      const disorder = describeDisorder(file, record);
      if (disorder !== undefined) {
        const entries = entriesOf(file, meta, name);
        this.#refused.set(name, { name, ...disorder, exchanged, entries });
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
