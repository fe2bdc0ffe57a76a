import makeBundle from '../support/bundle-setup.cjs';
import { findMiniStack, startMiniStack, type MiniStack } from '../support/aws/ministack.ts';
import {
  Cluster,
  reportCommandTimes,
  UNCACHED,
  type ClusterHost,
} from '../support/powerdns/cluster.ts';
import { operateByApi, operateByTool } from '../support/powerdns/operator.ts';
import { describeWithPowerDns, findPowerDns } from '../support/powerdns/roots.ts';
import type { ExpectedZone } from '../support/powerdns/zone-check.ts';

jest.setTimeout(180_000);

const powerDns = findPowerDns('bookworm');
const program = findMiniStack();
const ZONES = 8;

describeWithPowerDns(
  'PowerDNS 4.7, shadow mode, one writer, three hosts',
  [powerDns.missing, program === undefined ? 'no emulator of AWS' : undefined],
  () => {
    let server: MiniStack;
    let cluster: Cluster;

    beforeAll(async () => {
      makeBundle();
      server = await startMiniStack(program as string);
    });
    afterAll(() => server?.stop());
    beforeEach(async () => {
      cluster = await Cluster.open({
        root: powerDns.path as string,
        server,
        names: ['a', 'b', 'c'],
        powerDns: { 'lmdb-random-ids': 'yes', ...UNCACHED },
        databases: {
          main: 'schema_tracks_changes: false\n    dupsort_hack: true',
          shard: 'schema_tracks_changes: false',
        },
        headers: 'shadow',
      });
    });
    afterEach(() => cluster?.close());

    async function operate({ powerDns }: ClusterHost, round: string): Promise<ExpectedZone[]> {
      const zones = await Promise.all([
        operateByTool(powerDns, { prefix: `tool-${round}-`, count: ZONES }),
        operateByApi(powerDns, { prefix: `api-${round}-`, count: ZONES }),
      ]);
      return zones.flat();
    }

    test('what the writer makes, signs, re-keys and deletes is the same everywhere, also on a host that was cut off and one that was wiped', async () => {
      const [writer, cutOff, wiped] = cluster.hosts as [ClusterHost, ClusterHost, ClusterHost];
      const first = await operate(writer, 'one');
      await cluster.converged();
      await cluster.checkZones(first);

      cutOff.line.cut();
      const writing = operate(writer, 'two');
      await cluster.kill(wiped);
      await cluster.wipe(wiped);
      await Promise.all([wiped.powerDns.restart(), cluster.startAgent(wiped)]);
      await wiped.agent.ready();
      const second = await writing;
      cutOff.line.heal();
      await cluster.converged();
      await cluster.checkZones([...first, ...second]);
      expect(second.filter(({ isDeleted }) => isDeleted)).toHaveLength((2 * ZONES) / 4);
      reportCommandTimes('PowerDNS 4.7, shadow mode', [writer]);
    });
  },
);
