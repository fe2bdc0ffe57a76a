import { bytesBody } from '../../storage/bodies.ts';
import { SIGNAL, entry, names, records, twoWriters } from '../support/compaction.ts';

test('a dry run says what would be folded and deleted and changes nothing', async () => {
  const { store, a, compactor } = twoWriters();
  await a.snapshot(records(entry('k', 'v', 1n)));
  const before = await names(store);
  expect(await compactor.run({ dryRun: true })).toMatchObject({
    outcome: 'planned',
    level: 'base',
    foldedObjects: 1,
  });
  expect(await names(store)).toEqual(before);
});

type Setup = ReturnType<typeof twoWriters>;

test.each<[string, object, (world: Setup) => Promise<unknown>]>([
  ['nothing', {}, async () => {}],
  [
    'a snapshot that another one covers',
    {},
    async ({ a }) => {
      await a.snapshot(records(entry('k', 'v', 1n)));
      await a.delta(records(entry('k', 'w', 2n)));
      await a.snapshot(records(entry('k', 'w', 2n)));
    },
  ],
  [
    'an object that cannot be read, and one behind it',
    {},
    async ({ store, a, b }) => {
      await a.snapshot(records(entry('k', 'v', 1n)));
      const name = await b.delta(records(entry('l', 'v', 1n)));
      await b.delta(records(entry('m', 'v', 1n)));
      await store.put(name, bytesBody(Buffer.from('damaged')), SIGNAL);
    },
  ],
  [
    'a new delta above a base',
    {},
    async ({ a, compactor }) => {
      await a.snapshot(records(entry('k', 'v', 1n)));
      await compactor.run();
      await a.delta(records(entry('k', undefined, 2n)));
    },
  ],
  [
    'readers that need the newest snapshots',
    { upstreamReads: true },
    async ({ a, b }) => {
      await a.snapshot(records(entry('k', 'v', 1n)));
      await b.snapshot(records(entry('k', 'w', 2n)));
    },
  ],
])('a dry run reports what the run does: %s', async (_what, policy, fill) => {
  const world = twoWriters(policy);
  await fill(world);
  const before = await names(world.store);
  const planned = await world.compactor.run({ dryRun: true });
  expect(await names(world.store)).toEqual(before);
  const done = await world.compactor.run();
  // Of the moment: how long something has been waiting.
  const lagMs = expect.any(Number);
  expect(planned).toEqual({ ...done, outcome: 'planned', written: undefined, lagMs });
});
