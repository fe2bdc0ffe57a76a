import { gunzipSync, gzipSync } from 'node:zlib';
import { parseObjectName, type StreamId } from '../../../protocol/object-name.ts';
import type { Register } from '../../../protocol/register.ts';
import { MAX_TIMESTAMP_NS } from '../../../protocol/time.ts';
import { encodeSnapshot, type TestDbi } from '../../support/compaction.ts';
import type { SeededRandom } from '../../support/random.ts';
import { splitKey } from '../host.ts';
import type { Content, Ledger } from '../ledger.ts';
import type { RecordingStore } from '../recording-store.ts';
import { ADVERSARY, drawMeta, drawName, type Known } from './claims.ts';

const SECOND_NS = 1_000_000_000n;
const BOMB_BYTES = 80 * 1024 ** 2;

export type AdversaryParts = {
  readonly bucket: RecordingStore;
  readonly keys: readonly string[];
  readonly ledger: (database: string) => Ledger;
  readonly nowNs: () => bigint;
  readonly log: (text: string) => void;
};

/**
 * An instance that may store objects under its own name, as every agent may, and means harm: it says whatever it likes
 * of itself and of everybody else. What it writes itself may win as any write may. Nobody else's entries may be lost by
 * it, and nobody may stop.
 */
export class Adversary {
  readonly #parts: AdversaryParts;
  readonly #names: string[] = [];
  #seq = 1n;

  constructor(parts: AdversaryParts) {
    this.#parts = parts;
  }

  /** Stores one object, or replaces one of its own. */
  async store(database: string, random: SeededRandom): Promise<void> {
    const { bucket, ledger, log } = this.#parts;
    const known = await this.#look(database);
    if (random.chance(0.8)) {
      this.#seq += 1n;
    }
    const own = this.#names.filter((name) => name.startsWith(`${database}__`));
    const again = own.length > 0 && random.chance(0.15);
    const name = again ? random.pick(own) : drawName(random, known, this.#seq);
    const object = parseObjectName(name);
    const run = object?.stream.slice(object.stream.lastIndexOf('.') + 1) ?? 'evil1';
    const meta = drawMeta(random, known, { run, seq: object?.seq ?? 1n });
    const content = this.#drawContent(random, database);
    const { bytes, what } = drawBytes(random, encodeSnapshot(meta, drawDbis(random, content)));
    for (const [key, register] of content) {
      ledger(database).noteHostile(key, register);
    }
    this.#names.push(name);
    log(`${ADVERSARY} stores ${name}: ${content.size} entries, ${what}`);
    await bucket.plant(name, bytes);
  }

  async #look(database: string): Promise<Known> {
    const streams = new Map<StreamId, bigint>();
    for (const name of await this.#parts.bucket.names()) {
      const object = parseObjectName(name);
      if (object?.database === database && object.instance !== ADVERSARY) {
        const seen = streams.get(object.stream) ?? 0n;
        streams.set(object.stream, object.seq > seen ? object.seq : seen);
      }
    }
    return { database, nowNs: this.#parts.nowNs(), streams: [...streams] };
  }

  /** Mostly keys of its own, and old entries of others' keys; now and then a newer one, or one of the far future. */
  #drawContent(random: SeededRandom, database: string): Content {
    const { keys, nowNs, ledger } = this.#parts;
    const now = nowNs();
    const content: Content = new Map();
    const count = random.pick([0, 0, 1, 2, 8]);
    for (let at = 0; at < count; at += 1) {
      const isOwn = random.chance(0.5);
      const key = isOwn ? `${random.pick(['zones', 'evil'])}/m${at}` : random.pick(keys);
      const timestampNs = random.weighted({ old: 8, now: isOwn ? 8 : 1, future: isOwn ? 4 : 0.3 });
      const register: Register = {
        deleted: random.chance(0.3),
        value: Buffer.from(random.pick(['evil', '', 'x'.repeat(3000)])),
        timestampNs: {
          old: random.pick([0n, 1n, now - 60n * SECOND_NS, now - 86_400n * SECOND_NS]),
          now,
          future: random.pick([now + 3600n * SECOND_NS, 2n ** 63n, MAX_TIMESTAMP_NS]),
        }[timestampNs],
      };
      content.set(key, register.deleted ? { ...register, value: new Uint8Array(0) } : register);
    }
    // What others have stored, as it is: nothing must change by that.
    for (const [key, register] of ledger(database).winners) {
      if (random.chance(0.1) && !content.has(key)) {
        content.set(key, register);
      }
    }
    return content;
  }
}

/** DBIs as they should be, or in a strange order, with strange flags and names, or entries that nobody can take. */
function drawDbis(random: SeededRandom, content: Content): TestDbi[] {
  const dbis = new Map<string, TestDbi['entries'][number][]>();
  for (const [key, register] of content) {
    const [dbi, name] = splitKey(key);
    const entries = dbis.get(dbi) ?? [];
    entries.push({ key: Buffer.from(name, 'latin1'), ...register });
    dbis.set(dbi, entries);
  }
  const isSorted = random.chance(0.9);
  const drawn: TestDbi[] = [...dbis].map(([name, entries]) => ({
    name,
    entries: isSorted
      ? entries.toSorted((a, b) => Buffer.compare(a.key, b.key))
      : entries.toReversed(),
  }));
  const strange = random.weighted({ none: 12, privateName: 1, flags: 1, longKey: 1, transform: 1 });
  const entry = { key: Buffer.from('k'), value: Buffer.from('v'), timestampNs: 1n, deleted: false };
  if (strange === 'privateName') {
    drawn.push({ name: random.pick(['_sync_state', '_sync_shadow_zones']), entries: [entry] });
  } else if (strange === 'flags') {
    drawn.push({ name: 'strange', flags: random.pick([4, 8, 0x1234]), entries: [entry] });
  } else if (strange === 'longKey') {
    drawn.push({ name: 'long', entries: [{ ...entry, key: Buffer.alloc(2000, 'k') }] });
  } else if (strange === 'transform') {
    drawn.push({ name: 'evil', transform: 'no_such_transform', entries: [entry] });
  }
  return random.chance(0.9) ? drawn.toSorted((a, b) => (a.name < b.name ? -1 : 1)) : drawn;
}

/** Mostly the bytes as they are; else damaged in one of many ways. */
function drawBytes(
  random: SeededRandom,
  sound: Buffer,
): { readonly bytes: Uint8Array; readonly what: string } {
  const what = random.weighted({
    sound: 20,
    cut: 2,
    empty: 1,
    flipped: 2,
    'wrong inside': 2,
    'not gzip': 1,
    twice: 1,
    bomb: 0.1,
  });
  const bytes = {
    sound: () => sound,
    cut: () => sound.subarray(0, random.below(sound.length)),
    empty: () => new Uint8Array(0),
    flipped: () => flip(sound, random),
    'wrong inside': () => gzipSync(flip(gunzipSync(sound), random), { level: 1 }),
    'not gzip': () => Buffer.from('<html>'),
    twice: () => Buffer.concat([sound, sound]),
    bomb: () => Buffer.concat([sound, gzipSync(Buffer.alloc(BOMB_BYTES), { level: 1 })]),
  }[what]();
  return { bytes, what };
}

function flip(bytes: Buffer, random: SeededRandom): Buffer {
  const copy = Buffer.from(bytes);
  const at = random.below(copy.length);
  copy[at] = (copy[at] ?? 0) ^ (1 << random.below(8));
  return copy;
}
