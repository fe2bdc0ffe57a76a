import type { AgentRun } from '../../simulation/agent-run.ts';
import { QuietFleet } from '../../simulation/quiet/quiet-fleet.ts';
import { SyncError } from '../../../protocol/errors.ts';
import { manifestName, parseObjectName } from '../../../protocol/object-name.ts';
import { bytesBody } from '../../../storage/bodies.ts';

const NEVER = new AbortController().signal;

let fleet: QuietFleet;
let a: AgentRun;
let base: string;

/** What A has stored is in the base alone, and A has merged that. */
beforeEach(async () => {
  fleet = new QuietFleet();
  a = fleet.start(fleet.a);
  await fleet.until('the start of A', () => a.isStarted);
  fleet.write(fleet.a, 'k', 'v');
  await fleet.until('its object', () => fleet.stored().length === 1);
  await compact();
  fleet.clock.advanceMs(60_000);
  await compact();
  a.engine.noteListing();
  await fleet.rest();
  base = (await fleet.bucket.names()).find((name) => name.includes('.base.')) ?? '';
});

afterEach(() => fleet.dispose());

async function compact(): Promise<void> {
  fleet.startCompaction();
  await fleet.compactionsEnded();
}

test('a host that had the lost base stores all that it has, and the next base has it', async () => {
  const [first = ''] = fleet.storedNames();
  expect(await fleet.bucket.names()).not.toContain(first);
  await fleet.bucket.delete(base, NEVER);
  await fleet.until('the full snapshot', () => {
    a.engine.noteListing();
    fleet.clock.advanceMs(10_000);
    return fleet.stored().length > 1;
  });
  expect(parseObjectName(fleet.storedNames()[1] ?? '')?.kind).toBe('snapshot');
  await compact();
  const b = fleet.start(fleet.b);
  await fleet.until('the start of B', () => b.isStarted);
  expect(fleet.read(fleet.b, 'k')).toBe('v');
  const stored = fleet.stored().length;
  a.engine.noteListing();
  await fleet.rest();
  // It is told once.
  expect(fleet.stored()).toHaveLength(stored);
});

describe.each([
  ['base is gone', () => fleet.bucket.delete(base, NEVER)],
  ['base is damaged', () => fleet.bucket.damage(base, () => 0)],
  [
    'manifest is damaged',
    () => fleet.bucket.put(manifestName('main'), bytesBody(Buffer.from('{}')), NEVER),
  ],
])('where the %s a host that has nothing', (_, lose) => {
  beforeEach(async () => {
    await fleet.stop(fleet.a);
    await lose();
  });

  test('does not say that it is in sync, and sends what it has', async () => {
    const b = fleet.start(fleet.b);
    fleet.write(fleet.b, 'own', '1');
    await fleet.until('its object', () => fleet.stored().includes('b.1 snapshot'));
    b.engine.noteListing();
    await fleet.rest();
    expect(b.isStarted).toBe(false);
  });

  test('ends with the error where it is to sync once', async () => {
    const run = fleet.start(fleet.b, { onlyOnce: true });
    await run.ended();
    expect(() => run.requireNoFailure()).toThrow(SyncError);
    fleet.b.run = undefined;
  });
});
