import type { LocalDatabase } from '../../../agent/lmdb/local-database.ts';
import { lastTxn, objectSpool, readEncoded, type ObjectContent } from '../../support/lmdb.ts';
import { LmdbHost, REMOTE_STREAM } from '../../support/lmdb-host.ts';
import { putSingly } from '../../support/lmdb-writer/plain-writes.ts';

/** An entry as `value@time`, a deletion as `x@time`. */
type Entries = Map<string, string>;

const KEYS = 12;
const STEPS = 120;

/** A small generator of numbers below 2^32 (mulberry32). */
function generator(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** The plain merge rule on texts: later wins, then the lower value, a deletion lowest. */
function wins(text: string, over: string | undefined): boolean {
  if (over === undefined) {
    return true;
  }
  const [value = '', time = ''] = text.split('@');
  const [otherValue = '', otherTime = ''] = over.split('@');
  if (time !== otherTime) {
    return Number(time) > Number(otherTime);
  }
  return (value === 'x' ? '' : value) < (otherValue === 'x' ? '' : otherValue);
}

function join(into: Entries, key: string, text: string): void {
  if (wins(text, into.get(key))) {
    into.set(key, text);
  }
}

/**
 * One host whose application writes as it likes (a clock behind, keys removed, DBI dropped), whose agent sends, merges, is
 * killed and starts again; and the bucket as the plain merge of everything that was stored in it.
 */
class World {
  readonly host = new LmdbHost();
  readonly bucket: Entries = new Map();
  /** The highest entry of each key that the agent has had a chance to see. */
  readonly seen: Entries = new Map();
  readonly random: (below: number) => number;
  #db: LocalDatabase | undefined;
  #time = 1000;
  #seq = 0n;
  /** Something is to be seen that the next start could not see. */
  #mustLook = false;

  constructor(seed: number) {
    this.random = generator(seed);
  }

  async step(): Promise<void> {
    const kind = this.random(20);
    if (kind < 8) {
      this.applicationWrites();
    } else if (kind < 11) {
      await this.merge();
    } else if (kind < 15) {
      await this.send();
    } else if (kind < 17) {
      await this.look();
    } else if (kind < 18) {
      await this.restart();
    } else if (kind < 19) {
      this.applicationRegresses();
    } else {
      await this.persist();
    }
  }

  async db(): Promise<LocalDatabase> {
    if (this.#db === undefined) {
      const { db, result } = await this.host.opened({
        run: `run${this.#seq}`,
        pendingBytesMax: this.random(3) === 0 ? 300 : 1_000_000,
        maxLockHoldMs: this.random(2) === 0 ? 0.05 : 250,
      });
      this.#db = db;
      this.note();
      // The engine then merges everything that is in the bucket.
      if (result.vectorForgotten || result.vector.size === 0) {
        await this.mergeBucket(db);
      }
    }
    return this.#db;
  }

  async close(): Promise<void> {
    await this.host.close();
  }

  applicationWrites(): void {
    this.host.application.write((txn) => {
      for (let i = this.random(4); i >= 0; i -= 1) {
        this.#time += this.random(3);
        const deleted = this.random(4) === 0;
        const value = deleted ? '' : `v${this.random(5)}`;
        const [dbi, key] = [this.#dbi(), this.#key()];
        const noTxn = this.random(10) === 0 ? { txn: 0 } : {};
        if (!this.#mayWrite(`${dbi}/${key}`, `${deleted ? 'x' : value}@${this.#time}`)) {
          continue;
        }
        txn.put(dbi, key, { value, ts: this.#time, deleted, ...noTxn });
      }
    });
  }

  /**
   * A write below what was there (merges run ahead of the clock) is put back by whoever saw both, or comes back from
   * the bucket; what neither the agent nor the bucket has cannot.
   */
  #mayWrite(name: string, text: string): boolean {
    const known = this.seen.get(name);
    if (known === undefined || !wins(known, text) || this.bucket.get(name) === known) {
      return true;
    }
    this.#mustLook = true;
    return this.#db !== undefined;
  }

  /** Only while the agent runs: what is removed while nobody watches leaves nothing to see. */
  applicationRegresses(): void {
    if (this.#db === undefined) {
      return;
    }
    this.#mustLook = true;
    this.host.application.write((txn) => {
      const kind = this.random(3);
      if (kind === 0) {
        txn.remove('one', this.#key());
      } else if (kind === 1) {
        txn.put('one', this.#key(), { value: 'old', ts: 1 + this.random(900) });
      } else {
        txn.drop('one');
      }
    });
  }

  async merge(): Promise<void> {
    const db = await this.db();
    this.#seq += 1n;
    const content: ObjectContent = { one: { entries: {} }, two: { entries: {} } };
    const entries: [string, string, string][] = [];
    for (let i = this.random(6); i >= 0; i -= 1) {
      const dbi = this.#dbi();
      const key = this.#key();
      const ts = this.#time + this.random(40) - 20;
      const deleted = this.random(4) === 0;
      const value = deleted ? '' : `r${this.random(5)}`;
      content[dbi]!.entries[key] = { value, ts, deleted };
      entries.push([dbi, key, `${deleted ? 'x' : value}@${ts}`]);
    }
    for (const [dbi, entriesOf] of Object.entries(content)) {
      for (const [key, { value, ts, deleted }] of Object.entries(entriesOf.entries)) {
        join(this.bucket, `${dbi}/${key}`, `${deleted === true ? 'x' : String(value)}@${ts}`);
      }
    }
    await this.#merge(db, content);
  }

  async mergeBucket(db: LocalDatabase): Promise<void> {
    const content: ObjectContent = { one: { entries: {} }, two: { entries: {} } };
    for (const [name, text] of this.bucket) {
      const [dbi = '', key = ''] = name.split('/');
      const [value = '', ts = ''] = text.split('@');
      content[dbi]!.entries[key] = {
        value: value === 'x' ? '' : value,
        ts: Number(ts),
        deleted: value === 'x',
      };
    }
    await this.#merge(db, content);
  }

  /** Sends a delta, or a full snapshot; not every answer arrives before the run ends. */
  async send(): Promise<void> {
    const db = await this.db();
    const isFirst = dumpMarker(await db.detect()) || this.random(6) === 0;
    const { object } = isFirst
      ? await db.encodeSnapshot(this.host.next())
      : await db.encodeDelta(this.host.next());
    this.note();
    if (object === undefined) {
      return;
    }
    for (const [dbi, entries] of Object.entries(await readEncoded(object.spool))) {
      for (const [key, text] of Object.entries(entries)) {
        join(this.bucket, `${dbi}/${key}`, text);
      }
    }
    if (this.random(8) === 0) {
      await this.restart();
    } else {
      await db.acknowledge(object.token);
    }
  }

  async look(): Promise<void> {
    const db = await this.db();
    await db.detect();
    this.note();
  }

  async persist(): Promise<void> {
    const db = await this.db();
    await db.persist({ vector: new Map([[REMOTE_STREAM, this.#seq + 1n]]), lastSyncNs: 5n });
    this.note();
  }

  async restart(): Promise<void> {
    if (this.#mustLook) {
      await this.look();
    }
    if (this.#db !== undefined) {
      await this.host.kill(this.#db);
    }
    this.#db = undefined;
  }

  /** After each look of the agent, its LMDB holds nothing below what it has held at a look before. */
  note(): void {
    this.#mustLook = false;
    for (const [name, text] of this.content()) {
      join(this.seen, name, text);
    }
  }

  content(): Entries {
    const entries: Entries = new Map();
    for (const dbi of ['one', 'two']) {
      for (const [key, entry] of Object.entries(this.host.dbi(dbi))) {
        entries.set(`${dbi}/${key}`, `${entry.deleted ? 'x' : entry.value}@${entry.ts}`);
      }
    }
    return entries;
  }

  async #merge(db: LocalDatabase, content: ObjectContent): Promise<void> {
    const request = {
      name: 'x',
      spool: objectSpool(content),
      vector: new Map([[REMOTE_STREAM, this.#seq + 1n]]),
    };
    const { detection } = await db.merge(request);
    // Nothing was merged then, because the vector is no longer true: as the engine does, everything once more.
    if (detection.vectorForgotten) {
      await this.mergeBucket(db);
      await db.merge(request);
    }
    this.note();
  }

  #dbi(): string {
    return this.random(2) === 0 ? 'one' : 'two';
  }

  #key(): string {
    return `key-${this.random(KEYS)}`;
  }
}

function dumpMarker(detection: { pendingScan: boolean }): boolean {
  return detection.pendingScan;
}

function sorted(entries: Entries): [string, string][] {
  return [...entries].toSorted(([a], [b]) => (a < b ? -1 : 1));
}

async function runWorld(seed: number): Promise<void> {
  const world = new World(seed);
  try {
    for (let i = 0; i < STEPS; i += 1) {
      await world.step();
    }
    const db = await world.db();
    await db.detect();
    world.note();
    const { object } = await db.encodeDelta(world.host.next()).catch(async () => {
      // One is on its way still: the run ends, and the next one finds what it did not store.
      await world.restart();
      return (await world.db()).encodeDelta(world.host.next());
    });
    if (object !== undefined) {
      for (const [dbi, entries] of Object.entries(await readEncoded(object.spool))) {
        for (const [key, text] of Object.entries(entries)) {
          join(world.bucket, `${dbi}/${key}`, text);
        }
      }
    }
    const content = sorted(world.content());
    expect(content).toEqual(sorted(world.seen));
    expect(content).toEqual(sorted(world.bucket));
    const before = lastTxn(world.host.file);
    await world.mergeBucket(await world.db());
    expect(lastTxn(world.host.file)).toBe(before);
  } finally {
    await world.close();
  }
}

function seeds(from: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => from + index);
}

test.each(seeds(1, 25))(
  'seed %i: LMDB and bucket end as the plain merge of all that was seen',
  runWorld,
);

describe('with every entry put by itself', () => {
  beforeEach(putSingly);
  afterEach(() => jest.restoreAllMocks());

  test.each(seeds(20, 10))('seed %i: they end as the plain merge, too', runWorld);
});
