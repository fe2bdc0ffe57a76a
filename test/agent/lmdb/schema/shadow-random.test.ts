import type { LocalDatabase } from '../../../../agent/lmdb/local-database.ts';
import { DataFile } from '../../../../agent/lmdb/pages/data-file.ts';
import { LeftOut } from '../../../../agent/lmdb/changes/left-out.ts';
import { findBehind } from '../../../../agent/lmdb/schema/shadow-compare.ts';
import { dumpRaw } from '../../../support/lmdb.ts';
import { dumpLmdb, ShadowHost } from '../../../support/shadow.ts';
import type { Spool } from '../../../../agent/spool.ts';

const SEEDS = Number(process.env.SHADOW_SEEDS ?? 12);
const STEPS = 150;
const DBIS = [
  { name: 'plain', flags: 0 },
  { name: 'ids', flags: 8 },
  { name: 'reversed', flags: 2 },
  { name: 'pairs', flags: 4 },
  { name: 'fixed', flags: 4 + 16 },
];
const OPTIONS = { dupsortHack: true, maxLockHoldMs: 5 };

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

/** A host whose application writes as it likes, and whose agent sends, merges, is killed and starts again. */
class Member {
  readonly host = new ShadowHost();
  readonly sent: Spool[] = [];
  readonly #random: (below: number) => number;
  #db: LocalDatabase | undefined;
  #runs = 0;
  #value = 0;

  constructor(random: (below: number) => number, at: number) {
    this.#random = random;
    this.#value = at * 1_000_000;
    for (const { name, flags } of DBIS) {
      this.host.application.create(name, flags);
    }
  }

  async db(): Promise<LocalDatabase> {
    this.#runs += 1;
    this.#db ??= await this.host.start({ ...OPTIONS, run: `run${this.#runs}` });
    return this.#db;
  }

  async kill(): Promise<void> {
    if (this.#db !== undefined) {
      await this.host.kill(this.#db);
    }
    this.#db = undefined;
  }

  /** One transaction of the application, of up to 60 changes. */
  write(): void {
    const random = this.#random;
    this.host.application.write((txn) => {
      for (let left = random(random(10) === 0 ? 60 : 4); left >= 0; left -= 1) {
        const { name, flags } = DBIS[random(DBIS.length)]!;
        const key = Buffer.alloc(4);
        key.writeUInt32LE(random(40));
        this.#value += 1;
        const value = Buffer.alloc(random(30) === 0 && flags === 0 ? 5000 : 4);
        if (flags === 0 && random(20) === 0) {
          txn.put(name, key, '');
        } else if (random(3) > 0) {
          value.writeUInt32LE((flags & 4) === 0 ? this.#value : random(6));
          txn.put(name, key, value);
        } else if ((flags & 4) !== 0 && random(2) === 0) {
          value.writeUInt32LE(random(6));
          txn.remove(name, key, value);
        } else {
          txn.remove(name, key);
        }
      }
    });
  }

  async send(): Promise<void> {
    const kind = this.#random(4) === 0 ? 'snapshot' : 'delta';
    const spool = await this.host.encode(await this.db(), kind);
    if (spool !== undefined) {
      this.sent.push(spool);
    }
  }

  async merge(spool: Spool): Promise<void> {
    await (await this.db()).merge({ name: 'other', spool, vector: new Map() });
  }

  /** What should not be: keys whose sides differ, missing shadows, headers that upstream does not write. */
  async problems(): Promise<string[]> {
    const { regressions, invalidValues } = await (await this.db()).detect();
    using file = DataFile.open(this.host.file);
    const options = {
      refused: new Set<string>(),
      dupsortHack: true,
      invalid: new Set<string>(),
      leftOut: new LeftOut(),
    };
    const behind = [...findBehind(file, file.readMeta(), options)];
    const shadows = Object.entries(dumpRaw(this.host.file)).filter(([name]) =>
      name.startsWith('_sync_shadow_'),
    );
    const odd = shadows
      .flatMap(([, entries]) => Object.values(entries))
      .map((value) => value.subarray(16, 24).toString('hex'))
      .filter((header) => !/^000[01]0{12}$/.test(header));
    const counts = `${regressions} ${invalidValues} ${DBIS.length - shadows.length}`;
    return [...behind.map(({ key }) => key), ...odd, ...(counts === '0 0 0' ? [] : [counts])];
  }
}

test.each(Array.from({ length: SEEDS }, (_, seed) => seed + 1))(
  'two hosts hold the same after everything was exchanged, seed %i',
  async (seed) => {
    const random = generator(seed);
    const members = [new Member(random, 1), new Member(random, 2)] as const;
    try {
      for (let step = 0; step < STEPS; step += 1) {
        const at = random(2);
        const member = members[at]!;
        const other = members[1 - at]!;
        member.host.clock.advanceMs(random(1000));
        const kind = random(20);
        if (kind < 9) {
          member.write();
        } else if (kind < 12) {
          await (await member.db()).detect();
        } else if (kind < 15) {
          await member.send();
        } else if (kind < 18 && other.sent.length > 0) {
          await member.merge(other.sent[random(other.sent.length)]!);
        } else if (kind === 18) {
          await member.kill();
        } else {
          expect(await member.problems()).toEqual([]);
        }
      }
      // Whatever was sent, in any order, is all there is to know.
      for (const member of members) {
        expect(await member.problems()).toEqual([]);
        const spool = await member.host.encode(await member.db(), 'delta');
        if (spool !== undefined) {
          member.sent.push(spool);
        }
      }
      for (const [from, to] of [[0, 1] as const, [1, 0] as const]) {
        const { sent } = members[from];
        while (sent.length > 0) {
          await members[to].merge(sent.splice(random(sent.length), 1)[0]!);
        }
        expect(await members[to].problems()).toEqual([]);
      }
      expect(dumpLmdb(members[0].host.file)).toEqual(dumpLmdb(members[1].host.file));
    } finally {
      for (const { host } of members) {
        await host.close();
      }
    }
  },
);
