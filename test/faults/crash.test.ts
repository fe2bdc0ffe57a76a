import { setTimeout as sleep } from 'node:timers/promises';
import type { AgentProcess } from '../../demo/agent-process.ts';
import { contents, eventually, finish, Fleet } from '../support/hosts.ts';

jest.setTimeout(180_000);

/** Set CRASH_SEED to repeat a failure, CRASH_ROUNDS for a longer search. */
const seed = Number(process.env['CRASH_SEED'] ?? 20_260_101);
const rounds = Number(process.env['CRASH_ROUNDS'] ?? 30);

type LastWrites = Record<string, { timestampNs: string; value?: string }>;

let fleet: Fleet;
beforeEach(async () => {
  fleet = await Fleet.open();
});
afterEach(() => fleet.close());

/** A small seeded generator of numbers in [0, 1) (mulberry32). */
function randomFrom(start: number): () => number {
  let state = start;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What must be everywhere in the end: of each key, the write with the latest time. */
function winners(all: readonly LastWrites[]): Record<string, string | null> {
  const best = new Map<string, { timestampNs: bigint; value: string | null }>();
  for (const writes of all) {
    for (const [key, { timestampNs, value }] of Object.entries(writes)) {
      const time = BigInt(timestampNs);
      const known = best.get(key);
      if (known === undefined || time > known.timestampNs) {
        best.set(key, { timestampNs: time, value: value ?? null });
      }
    }
  }
  return Object.fromEntries([...best].map(([key, { value }]) => [key, value]));
}

test(`no write is lost when either agent is killed again and again (seed ${seed})`, async () => {
  const random = randomFrom(seed);
  const hosts = ['a', 'b'] as const;
  const a = fleet.application('a');
  const b = fleet.application('b');
  const agents: Record<(typeof hosts)[number], AgentProcess> = {
    a: await fleet.startAgent('a'),
    b: await fleet.startAgent('b'),
  };
  const writers = await Promise.all(
    hosts.map((host) => fleet.startChild('writer.ts', fleet.lmdbFile(host), host, '4')),
  );

  for (let round = 0; round < rounds; round++) {
    // Short times hit the start, longer ones an upload or a merge.
    await sleep(20 + random() * 600);
    const host = hosts[Math.floor(random() * hosts.length)] as 'a' | 'b';
    await agents[host].stop('SIGKILL');
    await sleep(random() < 0.3 ? random() * 300 : 0);
    agents[host] = await fleet.startAgent(host);
  }

  const expected = winners(
    (await Promise.all(writers.map(finish))).map((text) => JSON.parse(text) as LastWrites),
  );
  const wanted = JSON.stringify(sorted(expected));
  const same = (application: typeof a) => JSON.stringify(sorted(contents(application))) === wanted;
  await eventually(() => same(a) && same(b), {
    what: 'every last write on both hosts',
    agents: [agents.a, agents.b],
    timeoutMs: 30_000,
  }).catch((error: unknown) => {
    // The difference says more than the logs.
    expect(contents(a)).toEqual(expected);
    expect(contents(b)).toEqual(expected);
    throw error;
  });
  expect(contents(a)).toEqual(expected);
});

function sorted(entries: Record<string, string | null>): unknown[] {
  return Object.entries(entries).toSorted(([x], [y]) => (x < y ? -1 : 1));
}
