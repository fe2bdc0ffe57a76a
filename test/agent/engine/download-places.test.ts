import type { AgentRun } from '../../simulation/agent-run.ts';
import { QuietFleet } from '../../simulation/quiet/quiet-fleet.ts';

/** A full snapshot (k0) and five deltas (k1 to k5): the places and the read-ahead of the defaults are fewer. */
const CHANGES = 6;
const DAMAGED = 1;

describe.each([1, 2, 4])('with %i places for objects', (downloadPlaces) => {
  describe.each([1, 4])('and %i fetched ahead', (downloadConcurrency) => {
    let fleet: QuietFleet;
    let a: AgentRun;

    beforeEach(async () => {
      fleet = new QuietFleet({ downloadPlaces, downloadConcurrency });
      a = fleet.start(fleet.a);
      await fleet.until('the start of A', () => a.isStarted);
      for (let change = 0; change < CHANGES; change += 1) {
        fleet.write(fleet.a, `k${change}`, `${change}`);
        await fleet.until('its object', () => fleet.stored().length === change + 1);
      }
      await fleet.bucket.damage(fleet.storedNames()[DAMAGED] ?? '', () => 0);
    });

    afterEach(() => fleet.dispose());

    const read = () =>
      Array.from({ length: CHANGES }, (_, change) => fleet.read(fleet.b, `k${change}`));

    test('a delta that is always damaged stops nothing before or behind it', async () => {
      const b = fleet.start(fleet.b);
      await fleet.until('the start of B', () => b.isStarted);
      expect(read()).toEqual(['0', undefined, '2', '3', '4', '5']);
      fleet.write(fleet.a, 'later', 'comes');
      await fleet.until('its object', () => fleet.stored().length === CHANGES + 1);
      b.engine.noteListing();
      await fleet.until('the merge', () => fleet.read(fleet.b, 'later') === 'comes');
      expect(b.quarantined.size).toBe(1);
    });

    test('a delta that was hurt on the way, once, is merged like the others', async () => {
      let reads = 0;
      fleet.store.plan = (call, name) =>
        call === 'get' && name === fleet.storedNames()[DAMAGED] && reads++ === 1 ? 'slow' : 'none';
      fleet.store.pause = () => fleet.bucket.repairAll();
      const b = fleet.start(fleet.b);
      await fleet.until('the start of B', () => b.isStarted);
      expect(read()).toEqual(['0', '1', '2', '3', '4', '5']);
      expect(b.quarantined.size).toBe(0);
    });
  });
});
