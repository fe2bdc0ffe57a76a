import { runSeed } from './run-seed.ts';

/**
 * Agents on real LMDBs and one bucket, with everything that goes wrong in the field, in virtual time. These seeds are
 * fixed; `npm run simulate` runs new ones. Those from 1001 on have failed. 1001: the sweeper dropped a tombstone while
 * the base was from before the deletion. 2843: a wiped host that wrote nothing more left what it had in deltas alone,
 * which upstream cannot read. 5002: a damaged object waited
 * for a place to be read again, which those behind it held. 91130539: a full snapshot found that the file had been
 * replaced, and closing the old one waited for that very snapshot. The others were mistakes of the simulator's own.
 */
const SEEDS = [
  ...Array.from({ length: 24 }, (_, index) => index + 1),
  1001,
  1073,
  1230,
  1843,
  2843,
  5002,
  91130539,
];

test.each(SEEDS)('all hosts end equal and nothing is lost: seed %i', async (seed) => {
  const { failure } = await runSeed(seed);
  expect(failure).toBeUndefined();
});

test('the same seed does the same again', async () => {
  const [first, second] = [await runSeed(7), await runSeed(7)];
  expect(second).toEqual({ ...first, failure: undefined });
});
