import fc from 'fast-check';
import { incomingWins, mergeRegisters, type Register } from '../../protocol/register.ts';
import { parseValueHeader } from '../../protocol/value-header.ts';
import { register, storedValue, viewOf } from '../support/arbitraries.ts';
import { fixtureBytes, fixtureJson, readObject } from '../support/fixtures.ts';

const at = (time: number, text: string, deleted = false): Register => ({
  timestampNs: BigInt(time),
  value: Buffer.from(text),
  deleted,
});

test('merging in any order and grouping gives the same register', () => {
  const m = mergeRegisters;
  fc.assert(
    fc.property(register, register, register, (a, b, c) => {
      expect(m(a, b)).toEqual(m(b, a));
      expect(m(m(a, b), c)).toEqual(m(a, m(b, c)));
      expect(m(a, a)).toEqual(a);
    }),
    { numRuns: 2000 },
  );
});

test('the hot form decides as the merge of plain registers', () => {
  fc.assert(
    fc.property(register, register, fc.nat(3), (local, remote, blocks) => {
      const stored = Buffer.concat([
        Buffer.from('??'),
        storedValue(local, blocks),
        Buffer.from('?'),
      ]);
      const wins = incomingWins(stored, 2, stored.length - 1, viewOf(remote));
      const winner = mergeRegisters(local, remote);
      // Where both are equal nothing is written; the merge returns either.
      expect(wins ? remote : local).toEqual(winner);
      expect(wins && mergeRegisters(remote, local) === local).toBe(false);
    }),
    { numRuns: 3000 },
  );
});

test('a tombstone beats a live value of the same nanosecond', () => {
  const tombstone = at(7, '', true);
  expect(mergeRegisters(at(7, 'a'), tombstone)).toBe(tombstone);
  expect(mergeRegisters(at(7, ''), tombstone)).toBe(tombstone);
  expect(mergeRegisters(tombstone, at(7, ''))).toBe(tombstone);
});

test.each([
  ['newer stays', at(40, 'x'), at(30, 'y'), 'x'],
  ['lower value wins a tie', at(30, 'bbb'), at(30, 'aaa'), 'aaa'],
  ['higher value loses a tie', at(30, 'bbb'), at(30, 'ccc'), 'bbb'],
  ['a prefix is lower', at(30, 'ab'), at(30, 'a'), 'a'],
  ['deletion wins a tie', at(30, 'x'), at(30, '', true), ''],
])('%s', (_name, local, remote, expected) => {
  expect(Buffer.from(mergeRegisters(local, remote).value).toString()).toBe(expected);
});

test('an entry wins over nothing, and over a stored value of no bytes', () => {
  expect(incomingWins(Buffer.alloc(4), 2, 2, viewOf(at(0, '')))).toBe(true);
});

test('a stored value without a header is an error, not a loss', () => {
  const stored = Buffer.from('corrupt');
  expect(() => incomingWins(stored, 0, stored.length, viewOf(at(1, 'v')))).toThrow(
    expect.objectContaining({ code: 'VALUE_HEADER_INVALID' }),
  );
});

test('a deleted entry with a value is compared as received', () => {
  const stored = storedValue(at(5, 'mmm'));
  const wins = (value: string): boolean =>
    incomingWins(stored, 0, stored.length, viewOf(at(5, value, true)));
  expect([wins('aaa'), wins('mmm'), wins('zzz')]).toEqual([true, false, false]);
});

describe('e: the 37 conflicts that upstream resolved', () => {
  type Dbi<E> = { name: string; entries: E[] };
  type Expected = {
    key: string;
    timestampNano: string;
    value: string;
    rawFlags: number;
    localValueKeptByteForByte: boolean;
  };
  const input = fixtureJson('e-merge', 'input.json') as {
    localDbis: Dbi<{ key: string; value: string }>[];
    remoteSnapshots: string[];
  };
  const expected = fixtureJson('e-merge', 'expected.json') as { dbis: Dbi<Expected>[] };
  const id = (dbi: string, key: string): string => `${dbi}/${key}`;

  function localRegisters(): Map<string, Register> {
    const registers = new Map<string, Register>();
    for (const { name, entries } of input.localDbis) {
      for (const { key, value } of entries) {
        const raw = Buffer.from(value, 'hex');
        const { timestampNs, flags, headerLength } = parseValueHeader(raw);
        const deleted = (flags & 1) !== 0;
        registers.set(id(name, key), { timestampNs, deleted, value: raw.subarray(headerLength) });
      }
    }
    return registers;
  }

  async function remoteRegisters(snapshot: string): Promise<[string, Register][]> {
    const sink = await readObject(fixtureBytes('e-merge', snapshot));
    return sink.dbis.flatMap(({ name, entries }) =>
      entries.map(({ key, value, timestampNano, flags }): [string, Register] => [
        id(name, key),
        {
          timestampNs: BigInt(timestampNano),
          deleted: flags === 1,
          value: Buffer.from(value, 'hex'),
        },
      ]),
    );
  }

  // Upstream leaves both sides as they are and never converges; design: the deletion wins.
  const OURS_ONLY = Buffer.from('25-equal-ts-empty-live-local-vs-deleted-remote').toString('hex');

  const [b = '', c = '', d = ''] = input.remoteSnapshots;
  const orders = [
    [b, c, d],
    [b, d, c],
    [c, b, d],
    [c, d, b],
    [d, b, c],
    [d, c, b],
  ];

  test.each(orders)('loaded in the order %s, %s, %s', async (...order) => {
    const merged = localRegisters();
    const before = localRegisters();
    for (const snapshot of order) {
      for (const [key, remote] of await remoteRegisters(snapshot)) {
        const local = merged.get(key);
        const winner = local === undefined ? remote : mergeRegisters(local, remote);
        const stored = local === undefined ? Buffer.alloc(0) : storedValue(local);
        expect(incomingWins(stored, 0, stored.length, viewOf(remote))).toBe(winner !== local);
        merged.set(key, winner.deleted ? { ...winner, value: Buffer.alloc(0) } : winner);
      }
    }
    const kinds = expected.dbis.flatMap((dbi) =>
      dbi.entries.map((entry) => ({ dbi: dbi.name, ...entry })),
    );
    for (const { dbi, key, value, timestampNano, rawFlags } of kinds) {
      expect(merged.get(id(dbi, key))).toEqual({
        timestampNs: BigInt(timestampNano),
        value: Buffer.from(value, 'hex'),
        deleted: (rawFlags & 1) !== 0 || key === OURS_ONLY,
      });
    }
    const kept = kinds.filter((kind) => kind.localValueKeptByteForByte && kind.key !== OURS_ONLY);
    for (const { dbi, key } of kept) {
      expect(merged.get(id(dbi, key))).toEqual(before.get(id(dbi, key)));
    }
    expect(merged.size).toBe(kinds.length);
    expect(kinds.length).toBeGreaterThanOrEqual(37);
  });
});
