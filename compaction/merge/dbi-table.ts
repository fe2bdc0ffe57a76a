import { SyncError } from '../../protocol/errors.ts';
import type { DbiHeader } from '../../protocol/snapshot.ts';
import { DBIS_MAX } from './limits.ts';
import { type KeyOrder, keyOrderOf } from '../../protocol/key-order.ts';

/** Persistent flag of a DBI that holds several values per key. Source: `lmdb.h`. */
const DUPSORT = 0x04;
const DUPSORT_TRANSFORM = 'dupsort_hack_v1';

/**
 * The DBIs of one fold, numbered in order of appearance.
 *
 * The first input that shows a DBI fixes the order of its keys for the whole fold. Which flags are written is decided
 * by the existing state, where it has the DBI: agents use an existing DBI as it is, too.
 */
export class DbiTable {
  readonly #ids = new Map<string, number>();
  readonly #headers: DbiHeader[] = [];
  readonly #orders: KeyOrder[] = [];

  /**
   * The number of a DBI, new or known. `preferred`: the header comes from the existing state and is the one to write.
   *
   * Errors: SNAPSHOT_REJECTED if DUPSORT and transform do not fit, or differ from what the DBI has; for too many DBIs.
   */
  idOf(header: DbiHeader, preferred = false): number {
    requireUsable(header);
    const known = this.#ids.get(header.name);
    if (known === undefined) {
      if (this.#ids.size >= DBIS_MAX) {
        throw tooMany();
      }
      const id = this.#headers.push(header) - 1;
      this.#orders.push(keyOrderOf(header.flags));
      this.#ids.set(header.name, id);
      return id;
    }
    this.#requireSameTransform(header, known);
    if (preferred) {
      this.#headers[known] = header;
    }
    return known;
  }

  /** Checks a header without registering it. Errors: as {@link idOf}. */
  check(header: DbiHeader): void {
    requireUsable(header);
    const known = this.#ids.get(header.name);
    if (known !== undefined) {
      this.#requireSameTransform(header, known);
    }
  }

  /** Takes over the DBIs of an object that is accepted: all of them or none. Errors: SNAPSHOT_REJECTED for too many. */
  addAll(other: DbiTable): void {
    const added = [...other.#ids.keys()].filter((name) => !this.#ids.has(name));
    if (this.#ids.size + added.length > DBIS_MAX) {
      throw tooMany();
    }
    for (const header of other.#headers) {
      this.idOf(header);
    }
  }

  /** What to write before the entries of this DBI. */
  header(id: number): DbiHeader {
    const header = this.#headers[id];
    if (header === undefined) {
      throw new RangeError(`no DBI ${id}`);
    }
    return header;
  }

  /** The order of its keys. */
  order(id: number): KeyOrder {
    const order = this.#orders[id];
    if (order === undefined) {
      throw new RangeError(`no DBI ${id}`);
    }
    return order;
  }

  /** Numbers of all DBIs, ascending by name, as LMDB's root database orders them. */
  idsByName(): number[] {
    const name = (id: number): string => this.header(id).name;
    return [...this.#ids.values()].sort((a, b) => (name(a) < name(b) ? -1 : 1));
  }

  /** Order of two DBIs by name. Latin1 text compares like its bytes. */
  compare(a: number, b: number): number {
    if (a === b) {
      return 0;
    }
    return this.header(a).name < this.header(b).name ? -1 : 1;
  }

  #requireSameTransform(header: DbiHeader, known: number): void {
    const before = this.header(known);
    if (before.transform !== header.transform) {
      throw rejected(
        header,
        `transform "${header.transform}", elsewhere it is "${before.transform}"`,
      );
    }
  }
}

// Entries of a DBI that no agent accepts would make the base unreadable for all of them. Source: docs/format.md, 5 and 6.
function requireUsable(header: DbiHeader): void {
  const { flags, transform } = header;
  if (transform !== '' && transform !== DUPSORT_TRANSFORM) {
    throw rejected(header, `transform "${transform.slice(0, 40)}", which is unknown`);
  }
  if (((flags & DUPSORT) !== 0) !== (transform === DUPSORT_TRANSFORM)) {
    throw rejected(header, `flags ${flags} and transform "${transform}", which do not fit`);
  }
}

function tooMany(): SyncError {
  return new SyncError('SNAPSHOT_REJECTED', `there are more than ${DBIS_MAX} DBIs`, {
    hint: 'Find out what wrote so many DBIs, and remove that object.',
  });
}

function rejected(header: DbiHeader, what: string): SyncError {
  return new SyncError('SNAPSHOT_REJECTED', `DBI "${header.name}" has ${what}`, {
    hint: 'Give all instances of this database the same schema and the same dupsort_hack.',
  });
}
