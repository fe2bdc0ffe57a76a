import makeBundle from '../support/bundle-setup.cjs';
import { findMiniStack, startMiniStack, type MiniStack } from '../support/aws/ministack.ts';
import { RCODE } from '../support/powerdns/dns-message.ts';
import {
  Cluster,
  reportCommandTimes,
  UNCACHED,
  type ClusterHost,
} from '../support/powerdns/cluster.ts';
import {
  operateByApi,
  operateByTool,
  probeByTool,
  setAddress,
} from '../support/powerdns/operator.ts';
import { describeWithPowerDns, findPowerDns } from '../support/powerdns/roots.ts';

jest.setTimeout(180_000);

const powerDns = findPowerDns('trixie');
const program = findMiniStack();
const NATIVE = 'schema_tracks_changes: true';
const ZONES = 8;

describeWithPowerDns(
  'PowerDNS 4.9, native schema, three hosts',
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
        powerDns: { 'lmdb-lightning-stream': 'yes', ...UNCACHED },
        databases: { main: NATIVE, shard: NATIVE },
        headers: 'all',
      });
    });
    afterEach(() => cluster?.close());

    const hosts = () => cluster.hosts as [ClusterHost, ClusterHost, ClusterHost];

    /** Everything that the operators of these hosts do at the same time. */
    async function operate(operators: readonly ClusterHost[], round: string) {
      const stop = new AbortController();
      const probes = operators.map(({ name, powerDns }) =>
        probeByTool(powerDns, { zone: `probe-${round}-${name}.example`, signal: stop.signal }),
      );
      const work = operators.flatMap(({ name, powerDns }) => [
        operateByTool(powerDns, { prefix: `tool-${round}-${name}-`, count: ZONES }),
        operateByApi(powerDns, { prefix: `api-${round}-${name}-`, count: ZONES }),
      ]);
      const zones = await Promise.all(work).finally(() => stop.abort());
      return [...zones.flat(), ...(await Promise.all(probes))];
    }

    const reportWaits = (what: string) => reportCommandTimes(what, hosts());

    test('zones made, changed, signed, re-keyed and deleted on all hosts at once are the same everywhere', async () => {
      const [a, b, c] = hosts();
      await a.powerDns.pdnsutil('create-zone', 'shared.example', 'ns1.shared.example');
      await cluster.converged();
      const shared = (host: ClusterHost, address: string) =>
        setAddress(host.powerDns, 'shared.example', {
          owner: `${host.name}.shared.example`,
          address,
        });
      // One name made twice is two zones in the LMDB, which PowerDNS takes for one.
      const twice = [a, b].map(({ powerDns }) =>
        powerDns.pdnsutil('create-zone', 'twice.example', 'ns1.twice.example'),
      );
      const [zones] = await Promise.all([
        operate(hosts(), 'one'),
        ...hosts().map((host, at) => shared(host, `192.0.2.${at}`)),
        ...twice,
      ]);
      await cluster.converged();
      await cluster.checkZones([
        ...zones,
        { name: 'twice.example', keys: 0, addresses: { 'no.twice.example': undefined } },
        {
          name: 'shared.example',
          keys: 0,
          addresses: {
            'a.shared.example': '192.0.2.0',
            'b.shared.example': '192.0.2.1',
            'c.shared.example': '192.0.2.2',
          },
        },
      ]);
      expect(zones.filter(({ isDeleted }) => isDeleted)).toHaveLength((3 * 2 * ZONES) / 4);

      await c.powerDns.pdnsutil('delete-zone', 'twice.example');
      await cluster.converged();
      await cluster.checkZones([
        { name: 'twice.example', keys: 0, addresses: {}, isDeleted: true },
      ]);
      reportWaits('PowerDNS 4.9, three hosts at once');
    });

    test('a host that is killed and wiped in the middle gets everything back from the bucket', async () => {
      const [a, b, c] = hosts();
      const before = await operate([c], 'before');
      await cluster.converged();
      const operators = operate([a, b], 'meanwhile');
      // It dies while it writes and while others' changes come in; what it had not sent dies with it.
      const dying = operateByTool(c.powerDns, { prefix: 'dying-', count: 100 }).then(
        () => 'done',
        () => 'died',
      );
      await cluster.eventually(
        async () => (await rcodeOf(a, 'dying-0.example')) === RCODE.noError,
        'a zone of the dying host on another one',
      );
      await cluster.kill(c);
      expect(await dying).toBe('died');
      await cluster.wipe(c);
      // Both at once, as after a boot: PowerDNS makes an empty LMDB while its agent fetches the old one.
      await Promise.all([c.powerDns.restart(), cluster.startAgent(c)]);
      await c.agent.ready();
      const zones = [...before, ...(await operators)];
      await cluster.converged();
      await cluster.checkZones(zones);
      expect(await rcodeOf(c, 'dying-0.example')).toBe(RCODE.noError);

      // And it writes again.
      const after = await operate([c], 'after');
      await cluster.converged();
      await cluster.checkZones(after);
      reportWaits('PowerDNS 4.9, one host killed and wiped');
    });

    test('a host that is cut off goes on, and gets and gives what was missed when it is back', async () => {
      const [a, b, c] = hosts();
      const zone = 'common.example';
      await a.powerDns.pdnsutil('create-zone', zone, `ns1.${zone}`);
      await a.powerDns.pdnsutil('create-zone', 'doomed.example', 'ns1.doomed.example');
      await a.powerDns.pdnsutil('secure-zone', zone);
      await cluster.converged();
      c.line.cut();
      const set = (host: ClusterHost, owner: string, address: string) =>
        setAddress(host.powerDns, zone, { owner: `${owner}.${zone}`, address });
      // On both sides of the cut the same name: the later one holds. And the one side deletes what the other changes.
      await set(a, 'late-in-c', '192.0.2.1');
      await set(c, 'late-in-a', '192.0.2.2');
      await set(c, 'late-in-c', '192.0.2.3');
      await set(a, 'late-in-a', '192.0.2.4');
      await a.powerDns.pdnsutil('delete-zone', 'doomed.example');
      await c.powerDns.pdnsutil('add-record', 'doomed.example', 'www', 'A', '192.0.2.5');
      const zones = await operate(hosts(), 'cut');
      await cluster.converged([a, b]);
      expect(await rcodeOf(c, 'tool-cut-a-0.example')).toBe(RCODE.refused);
      expect(await rcodeOf(a, 'tool-cut-c-0.example')).toBe(RCODE.refused);

      c.line.heal();
      await cluster.converged();
      await cluster.checkZones([
        ...zones,
        {
          name: zone,
          keys: 1,
          addresses: {
            [`late-in-a.${zone}`]: '192.0.2.4',
            [`late-in-c.${zone}`]: '192.0.2.3',
            [`none.${zone}`]: undefined,
          },
        },
        { name: 'doomed.example', keys: 0, addresses: {}, isDeleted: true },
      ]);
      reportWaits('PowerDNS 4.9, one host cut off');
    });

    async function rcodeOf({ powerDns }: ClusterHost, name: string): Promise<number> {
      return (await powerDns.query({ name, type: 'SOA' })).rcode;
    }
  },
);
