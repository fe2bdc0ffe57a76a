import { parseObjectName } from '../../../protocol/object-name.ts';
import type { AgentRun } from '../../simulation/agent-run.ts';
import { QuietFleet, shortName } from '../../simulation/quiet/quiet-fleet.ts';

/** Full snapshots that add nothing: when they are sent, who reads them, what they prove. */

const NEVER = new AbortController().signal;
const HOUR_MS = 3_600_000;

let fleet: QuietFleet;

beforeEach(() => {
  fleet = new QuietFleet();
});

afterEach(() => fleet.dispose());

async function started(
  host: 'a' | 'b',
  overrides: Parameters<QuietFleet['start']>[1] = {},
): Promise<AgentRun> {
  const run = fleet.start(fleet[host], overrides);
  await fleet.until(`the start of ${host}`, () => run.isStarted);
  return run;
}

async function stored(what: string): Promise<void> {
  await fleet.until(what, () => fleet.stored().includes(what));
}

/** A stores a full snapshot, two deltas, and then one that is due: `a.4 marked`. */
async function aStoresMarked(): Promise<AgentRun> {
  const run = await started('a', { maxDeltas: 2 });
  for (let change = 1; change <= 3; change += 1) {
    fleet.write(fleet.a, `k${change}`, `${change}`);
    await fleet.until('its object', () => fleet.stored().length >= change);
  }
  await stored('a.4 marked');
  return run;
}

/** What is fetched from now on, by its short name. */
function recordFetches(): string[] {
  const fetched: string[] = [];
  fleet.store.plan = (call, name) => {
    if (call === 'get' && parseObjectName(name) !== undefined) {
      fetched.push(shortName(name));
    }
    return 'none';
  };
  return fetched;
}

function nameOf(short: string): string {
  return fleet.storedNames().find((name) => shortName(name) === short) ?? '';
}

function keysOf(short: string): string[] {
  return [...(fleet.ledger.objects.get(nameOf(short))?.content.keys() ?? [])];
}

describe('a reader', () => {
  test('that is in step does not fetch it, by notice or by listing', async () => {
    await started('b');
    await aStoresMarked();
    const b = fleet.b.run as AgentRun;
    const fetched = recordFetches();
    b.engine.noteNames(fleet.storedNames());
    await fleet.until('the last delta', () => fleet.read(fleet.b, 'k3') === '3');
    b.engine.noteListing();
    await fleet.rest();
    expect(fetched).toEqual(['a.1 snapshot', 'a.2 delta', 'a.3 delta']);
    expect(b.engine.has(parseObjectName(nameOf('a.4 marked'))!)).toBe(true);
  });

  test('that hears of it before the deltas below does not fetch it either', async () => {
    const b = await started('b');
    await aStoresMarked();
    const fetched = recordFetches();
    b.engine.noteNames(fleet.storedNames().toReversed());
    await fleet.until('the last delta', () => fleet.read(fleet.b, 'k3') === '3');
    await fleet.rest();
    expect(fetched).not.toContain('a.4 marked');
  });

  test('that hears of it alone looks for the deltas below in a listing', async () => {
    const b = await started('b');
    await aStoresMarked();
    const fetched = recordFetches();
    b.engine.noteNames([nameOf('a.4 marked')]);
    await fleet.until('the last delta', () => fleet.read(fleet.b, 'k3') === '3');
    expect(fetched).toEqual(['a.1 snapshot', 'a.2 delta', 'a.3 delta']);
  });

  test('that starts reads the deltas below it instead, where all of them are listed', async () => {
    await aStoresMarked();
    const fetched = recordFetches();
    await started('b');
    expect(fetched).toEqual(['a.1 snapshot', 'a.2 delta', 'a.3 delta']);
    expect(fleet.read(fleet.b, 'k3')).toBe('3');
  });

  test('that lacks an object below it, which is gone, reads it', async () => {
    await aStoresMarked();
    await fleet.bucket.delete(nameOf('a.2 delta'), NEVER);
    const fetched = recordFetches();
    await started('b');
    expect(fetched[0]).toBe('a.4 marked');
    expect(fleet.read(fleet.b, 'k2')).toBe('2');
  });

  test('that cannot use an object below it reads it after all', async () => {
    await aStoresMarked();
    await fleet.bucket.damage(nameOf('a.2 delta'), () => 0);
    const fetched = recordFetches();
    const b = await started('b');
    await fleet.until('what the damaged one held', () => fleet.read(fleet.b, 'k2') === '2');
    expect(fetched).toContain('a.4 marked');
    b.engine.noteListing();
    await fleet.until('the release', () => b.quarantined.size === 0);
  });

  test('goes on behind it with the next delta', async () => {
    const b = await started('b');
    await aStoresMarked();
    fleet.write(fleet.a, 'k4', '4');
    await stored('a.5 delta');
    const fetched = recordFetches();
    b.engine.noteListing();
    await fleet.until('the delta behind it', () => fleet.read(fleet.b, 'k4') === '4');
    b.engine.noteListing();
    await fleet.rest();
    expect(fetched).toEqual(['a.1 snapshot', 'a.2 delta', 'a.3 delta', 'a.5 delta']);
  });
});

describe('news', () => {
  /** A full snapshot is due; at the delta that goes before it there is a change, which that delta does not have. */
  async function changeBehindTheNews(): Promise<void> {
    await started('a', { maxDeltas: 2 });
    const changes = new Map([
      ['a.3 delta', 'early'],
      ['a.4 delta', 'late'],
    ]);
    fleet.store.onCreate = (name) => {
      const key = changes.get(shortName(name));
      if (key !== undefined) {
        changes.delete(shortName(name));
        fleet.write(fleet.a, key, 'it must not be in a full snapshot alone');
      }
    };
    for (let change = 1; change <= 3; change += 1) {
      fleet.write(fleet.a, `k${change}`, `${change}`);
      await fleet.until('its object', () => fleet.stored().length >= change);
    }
  }

  test('that come while a full snapshot is due are in a delta of the same moment right before it', async () => {
    await changeBehindTheNews();
    await stored('a.6 marked');
    expect(fleet.stored().slice(2)).toEqual(['a.3 delta', 'a.4 delta', 'a.5 delta', 'a.6 marked']);
    expect([keysOf('a.4 delta'), keysOf('a.5 delta')]).toEqual([['zones/early'], ['zones/late']]);
    expect(keysOf('a.6 marked')).toContain('zones/late');
    const [delta, full] = ['a.5 delta', 'a.6 marked'].map((name) => parseObjectName(nameOf(name)));
    expect(full!.timeNs).toBe(delta!.timeNs + 1n);
  });

  test('that the storage does not take hold back the full snapshot behind them', async () => {
    fleet.store.plan = (call, name) =>
      call === 'create' && shortName(name) === 'a.5 delta' ? 'fail' : 'none';
    await changeBehindTheNews();
    await stored('a.4 delta');
    await fleet.rest();
    expect(fleet.stored().at(-1)).toBe('a.4 delta');
    fleet.store.plan = () => 'none';
    await stored('a.6 marked');
  });

  test('whose delta may or may not be stored are in a full snapshot that everybody reads', async () => {
    const b = await started('b');
    let failures = 1;
    fleet.observer = {
      storeFailed: () => {
        if (failures-- > 0) {
          throw new TypeError('nobody expects this');
        }
      },
    };
    let lost = 1;
    fleet.store.plan = (call, name) =>
      call === 'create' && shortName(name) === 'a.5 delta' && lost-- > 0 ? 'fail' : 'none';
    await changeBehindTheNews();
    await stored('a.6 snapshot');
    expect(keysOf('a.6 snapshot')).toContain('zones/late');
    b.engine.noteListing();
    await fleet.until('all of it', () => fleet.read(fleet.b, 'late') !== undefined);
  });
});

describe('the first change of a host with a new LMDB', () => {
  test('is a delta, also after a restart', async () => {
    await started('a');
    fleet.write(fleet.a, 'k', '1');
    await stored('a.1 snapshot');
    await started('b');
    await fleet.until('the merge', () => fleet.read(fleet.b, 'k') === '1');
    await fleet.stop(fleet.b);
    await started('b');
    fleet.write(fleet.b, 'own', '1');
    await stored('b.1 delta');
    await fleet.rest();
    expect(fleet.stored()).toEqual(['a.1 snapshot', 'b.1 delta']);
    expect(keysOf('b.1 delta')).toEqual(['zones/own']);
  });

  test('in a bucket that was exchanged brings all that came from the other one', async () => {
    await started('a');
    fleet.write(fleet.a, 'k', '1');
    await stored('a.1 snapshot');
    await started('b');
    await fleet.until('the merge', () => fleet.read(fleet.b, 'k') === '1');
    await fleet.stop(fleet.b);
    await fleet.crash(fleet.a);
    await fleet.a.replace(undefined);
    for (const name of await fleet.bucket.names()) {
      await fleet.bucket.delete(name, NEVER);
    }
    const a = await started('a');
    fleet.write(fleet.a, 'other', '1');
    await fleet.until('the object of A', () => fleet.stored().length === 2);
    // B merges what is in the other bucket, and is gone before it has stored anything there.
    fleet.store.plan = (call, name) =>
      call === 'create' && name.includes('__b__') ? 'fail' : 'none';
    await started('b');
    await fleet.until('the merge', () => fleet.read(fleet.b, 'other') === '1');
    await fleet.crash(fleet.b);
    fleet.store.plan = () => 'none';
    await started('b');
    await fleet.until('the object of B', () => fleet.stored().length === 3);
    expect(keysOf(fleet.stored().at(-1) ?? '')).toContain('zones/k');
    a.engine.noteListing();
    await fleet.until('what only B had', () => fleet.read(fleet.a, 'k') === '1');
  });
});

describe('what it proves', () => {
  beforeEach(async () => {
    await fleet.dispose();
    fleet = new QuietFleet({ mustKeepMs: 0 });
  });

  test('is its own stream: what replaces an earlier run is unmarked, once in a run', async () => {
    await started('a');
    fleet.write(fleet.a, 'k1', '1');
    await stored('a.1 snapshot');
    await fleet.stop(fleet.a);
    const first = nameOf('a.1 snapshot');
    await started('a', { maxDeltas: 2 });
    for (let change = 2; change <= 8; change += 1) {
      fleet.write(fleet.a, `k${change}`, `${change}`);
      await fleet.rest();
    }
    const kinds = fleet.stored().map((short) => short.split(' ')[1]);
    expect(kinds.slice(1).filter((kind) => kind === 'snapshot')).toHaveLength(1);
    expect(kinds.slice(1).filter((kind) => kind === 'marked').length).toBeGreaterThanOrEqual(1);
    await fleet.until('the cleaning', () => fleet.store.calls.delete > 0);
    await fleet.rest();
    expect(await fleet.bucket.names()).not.toContain(first);
    const fetched = recordFetches();
    await started('b');
    expect(fetched.length).toBeGreaterThan(0);
    for (let change = 1; change <= 8; change += 1) {
      expect([change, fleet.read(fleet.b, `k${change}`)]).toEqual([change, `${change}`]);
    }
  });
});

describe('an idle host', () => {
  const FORCED = { forceSnapshotIntervalMs: 4 * HOUR_MS };

  /** A day in which nothing changes: every hour a listing. */
  async function idleDay(run: AgentRun): Promise<void> {
    for (let hour = 0; hour < 24; hour += 1) {
      fleet.clock.advanceMs(HOUR_MS);
      run.engine.noteListing();
      await fleet.rest();
    }
  }

  async function idleA(overrides: Parameters<QuietFleet['start']>[1]): Promise<AgentRun> {
    const run = await started('a', overrides);
    fleet.write(fleet.a, 'k', '1');
    await stored('a.1 snapshot');
    return run;
  }

  async function fold(): Promise<void> {
    fleet.startCompaction();
    await fleet.compactionsEnded();
  }

  test('sends nothing while a published base holds all that it has stored', async () => {
    const run = await idleA(FORCED);
    await fold();
    await idleDay(run);
    await idleDay(run);
    expect(fleet.stored()).toEqual(['a.1 snapshot']);
  });

  test('sends a marked full snapshot per interval while there is none', async () => {
    const run = await idleA(FORCED);
    await idleDay(run);
    expect(fleet.stored()).toEqual([
      'a.1 snapshot',
      ...Array.from({ length: 6 }, (_, at) => `a.${at + 2} marked`),
    ]);
  });

  test('sends one when what it stored after the base stays in no base for the interval', async () => {
    const run = await idleA(FORCED);
    await fold();
    await idleDay(run);
    fleet.write(fleet.a, 'k', '2');
    await stored('a.2 delta');
    for (let hour = 0; hour < 3; hour += 1) {
      fleet.clock.advanceMs(HOUR_MS);
      run.engine.noteListing();
      await fleet.rest();
    }
    expect(fleet.stored().at(-1)).toBe('a.2 delta');
    fleet.clock.advanceMs(HOUR_MS);
    run.engine.noteListing();
    await stored('a.3 marked');
  });

  test('sends one when the base that its manifest names is gone', async () => {
    const run = await idleA(FORCED);
    await fold();
    const base = (await fleet.bucket.names()).find((name) => name.endsWith('.base.pb.gz')) ?? '';
    await fleet.bucket.delete(base, NEVER);
    await idleDay(run);
    expect(fleet.stored().length).toBeGreaterThan(1);
  });

  test('sends it all the same where upstream reads the bucket, which reads no base', async () => {
    const run = await idleA({ ...FORCED, upstreamReaders: true });
    await fold();
    await idleDay(run);
    expect(fleet.stored()).toHaveLength(7);
  });
});
