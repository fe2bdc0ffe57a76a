import assert from 'node:assert';
import { encodeManifest } from '../../../protocol/manifest.ts';
import { bytesBody } from '../../../storage/bodies.ts';
import { readManifest } from '../../../storage/read-manifest.ts';
import { manifestName, streamOf } from '../../../protocol/object-name.ts';
import type { StoreCall } from '../../support/faulty-store.ts';
import type { AgentRun } from '../../simulation/agent-run.ts';
import { QuietFleet, shortName } from '../../simulation/quiet/quiet-fleet.ts';

const NEVER = new AbortController().signal;

let fleet: QuietFleet;
let a: AgentRun;

/** A has stored a full snapshot (k0) and two deltas (k1, k2). */
beforeEach(async () => {
  fleet = new QuietFleet();
  a = fleet.start(fleet.a);
  await fleet.until('the start of A', () => a.isStarted);
  for (let change = 0; change < 3; change += 1) {
    await storeChange(change);
  }
});

afterEach(() => fleet.dispose());

async function storeChange(change: number): Promise<void> {
  fleet.write(fleet.a, `k${change}`, `${change}`);
  await fleet.until('its object', () => fleet.stored().length === change + 1);
}

/** The calls to the bucket from now on, as `get a.1 snapshot`. */
function recordCalls(): string[] {
  const calls: string[] = [];
  fleet.store.plan = (call: StoreCall, name: string) => {
    calls.push(`${call} ${shortName(name)}`);
    return 'none';
  };
  return calls;
}

async function startedB(): Promise<AgentRun> {
  const run = fleet.start(fleet.b);
  await fleet.until('the start of B', () => run.isStarted);
  return run;
}

function nameOf(index: number): string {
  return fleet.storedNames()[index] ?? '';
}

test('a listing pass merges everything, and another one fetches nothing', async () => {
  const run = await startedB();
  expect(fleet.read(fleet.b, 'k0')).toBe('0');
  expect(fleet.read(fleet.b, 'k2')).toBe('2');
  const calls = recordCalls();
  run.engine.noteListing();
  await fleet.rest();
  expect(calls).toEqual(['list main__']);
});

test('a notice fetches that object and nothing else', async () => {
  const run = await startedB();
  await storeChange(3);
  const calls = recordCalls();
  run.engine.noteNames([nameOf(3), nameOf(3), nameOf(1)]);
  await fleet.until('the merge', () => fleet.read(fleet.b, 'k3') === '3');
  await fleet.rest();
  expect(calls).toEqual(['get a.4 delta']);
});

test('a notice beyond a gap is merged at once, and a pass closes the gap', async () => {
  const run = await startedB();
  await storeChange(3);
  await storeChange(4);
  const calls = recordCalls();
  run.engine.noteNames([nameOf(4)]);
  await fleet.until('both merges', () => fleet.read(fleet.b, 'k3') === '3');
  await fleet.rest();
  expect(fleet.read(fleet.b, 'k4')).toBe('4');
  expect(calls).toEqual(['get a.5 delta', 'list main__', 'get a.4 delta']);
});

test('a notice of an object that is gone leads to a pass', async () => {
  const run = await startedB();
  await storeChange(3);
  fleet.startCompaction();
  await fleet.compactionsEnded();
  fleet.startCompaction();
  await fleet.compactionsEnded();
  run.engine.noteNames([nameOf(3)]);
  await fleet.until('the merge of the base', () => fleet.read(fleet.b, 'k3') !== undefined);
  expect(fleet.read(fleet.b, 'k3')).toBe('3');
});

test('objects that a compaction folds between the listing and the manifest are not missed', async () => {
  const run = await startedB();
  await storeChange(3);
  fleet.store.plan = (call) => (call === 'list' ? 'slow' : 'none');
  let folded = false;
  // In the middle of the listing: its answer is as of before, what follows is of after.
  fleet.store.pause = async () => {
    if (folded) {
      return;
    }
    folded = true;
    fleet.store.plan = () => 'none';
    fleet.startCompaction();
    await fleet.compactionsEnded();
    fleet.startCompaction();
    await fleet.compactionsEnded();
  };
  run.engine.noteListing();
  await fleet.until('the merge', () => fleet.read(fleet.b, 'k3') !== undefined);
  expect(folded).toBe(true);
});

test('an object that goes away after the listing makes the pass begin anew', async () => {
  fleet.store.plan = (call, name) => (call === 'get' && name === nameOf(1) ? 'slow' : 'none');
  let gone = false;
  fleet.store.pause = async () => {
    if (!gone) {
      await fleet.bucket.delete(nameOf(1), NEVER);
    }
    gone = true;
  };
  const run = fleet.start(fleet.b);
  await fleet.until('the start of B', () => run.isStarted);
  expect(gone).toBe(true);
  expect(fleet.store.calls.list).toBeGreaterThanOrEqual(3);
  expect(fleet.read(fleet.b, 'k2')).toBe('2');
});

test('the manifest is read after the listing', async () => {
  fleet.startCompaction();
  await fleet.compactionsEnded();
  const calls = recordCalls();
  await startedB();
  const list = calls.indexOf('list main__');
  expect(list).toBeGreaterThanOrEqual(0);
  expect(calls.indexOf(`get ${manifestName('main')}`)).toBeGreaterThan(list);
});

test('while storage fails the pass is repeated until it is complete', async () => {
  let failures = 5;
  fleet.store.plan = (call) =>
    (call === 'list' || call === 'get') && failures-- > 0 ? 'fail' : 'none';
  await startedB();
  expect(fleet.read(fleet.b, 'k2')).toBe('2');
});

describe('a damaged object', () => {
  /** Fetches of the damaged one. */
  const fetches = (calls: string[]) => calls.filter((call) => call === 'get a.2 delta').length;

  beforeEach(async () => {
    await fleet.bucket.damage(nameOf(1), () => 0);
  });

  test('is fetched twice, left alone, and stops nothing else', async () => {
    const calls = recordCalls();
    const run = await startedB();
    expect(fetches(calls)).toBe(2);
    expect([...run.quarantined].map(shortName)).toEqual(['a.2 delta']);
    expect(fleet.read(fleet.b, 'k2')).toBe('2');
    fleet.write(fleet.b, 'own', 'sent all the same');
    await fleet.until('the object of B', () => fleet.stored().includes('b.1 delta'));
    run.engine.noteListing();
    await fleet.rest();
    expect(fetches(calls)).toBe(2);
    expect(fleet.read(fleet.b, 'k1')).toBeUndefined();
  });

  test('is merged when it has other bytes', async () => {
    const run = await startedB();
    await fleet.bucket.repairAll();
    run.engine.noteListing();
    await fleet.until('the merge', () => fleet.read(fleet.b, 'k1') === '1');
    await fleet.until('the release', () => run.quarantined.size === 0);
    expect(fleet.read(fleet.b, 'k2')).toBe('2');
  });

  test('of an earlier run is named until it is gone; a full snapshot of its writer brings what it held', async () => {
    const run = await startedB();
    await fleet.stop(fleet.a);
    a = fleet.start(fleet.a, { forceSnapshotIntervalMs: 1 });
    await fleet.until('the start of A', () => a.isStarted);
    fleet.clock.advanceMs(10);
    fleet.write(fleet.a, 'k3', '3');
    await fleet.until('the full snapshot', () => fleet.stored().at(-1) === 'a.1 snapshot');
    run.engine.noteListing();
    await fleet.until('the merge', () => fleet.read(fleet.b, 'k1') === '1');
    expect(run.quarantined.size).toBe(1);
    expect(fleet.read(fleet.b, 'k2')).toBe('2');
    await fleet.bucket.delete(nameOf(1), NEVER);
    run.engine.noteListing();
    await fleet.until('the release', () => run.quarantined.size === 0);
  });

  test('that was hurt on the way only is merged at the second reading', async () => {
    let reads = 0;
    fleet.store.plan = (call, name) =>
      call === 'get' && name === nameOf(1) && reads++ === 1 ? 'slow' : 'none';
    fleet.store.pause = () => fleet.bucket.repairAll();
    const run = await startedB();
    expect(fleet.read(fleet.b, 'k1')).toBe('1');
    expect(run.quarantined.size).toBe(0);
  });
});

test('a damaged base is left alone, and merged when it has other bytes', async () => {
  fleet.startCompaction();
  await fleet.compactionsEnded();
  fleet.startCompaction();
  await fleet.compactionsEnded();
  const base = (await fleet.bucket.names()).find((name) => name.includes('.base.')) ?? '';
  await fleet.bucket.damage(base, () => 0);
  const run = fleet.start(fleet.b);
  await fleet.until('the quarantine', () => run.quarantined.has(base));
  await fleet.bucket.repairAll();
  run.engine.noteListing();
  await fleet.until('the merge', () => fleet.read(fleet.b, 'k2') === '2');
  await fleet.until('the release', () => run.quarantined.size === 0);
  expect(fleet.read(fleet.b, 'k0')).toBe('0');
});

test('a manifest of more than 8 MiB is read, as any other', async () => {
  fleet.startCompaction();
  await fleet.compactionsEnded();
  fleet.startCompaction();
  await fleet.compactionsEnded();
  expect(await fleet.bucket.get(nameOf(0), { signal: NEVER })).toBeUndefined();
  const stored = await readManifest(fleet.bucket, 'main', NEVER);
  assert(stored !== undefined);
  const vector = new Map(stored.manifest.vector);
  for (let stream = 0; stream < 36_000; stream += 1) {
    const instance = `host-${stream}-${'x'.repeat(220)}`;
    vector.set(streamOf(instance, 'abcdefghijkl'), 1_000_000_000n);
  }
  const bytes = encodeManifest({ ...stored.manifest, vector });
  expect(bytes.length).toBeGreaterThan(8 * 1024 * 1024);
  await fleet.bucket.put(manifestName('main'), bytesBody(bytes), NEVER);
  await startedB();
  expect(fleet.read(fleet.b, 'k2')).toBe('2');
});
