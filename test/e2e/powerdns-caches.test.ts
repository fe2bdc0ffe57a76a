import makeBundle from '../support/bundle-setup.cjs';
import { reportFigure } from '../support/figures.ts';
import { findMiniStack, startMiniStack, type MiniStack } from '../support/aws/ministack.ts';
import { Cluster, type ClusterHost } from '../support/powerdns/cluster.ts';
import { RCODE, TYPE } from '../support/powerdns/dns-message.ts';
import { setAddress } from '../support/powerdns/operator.ts';
import type { PowerDns } from '../support/powerdns/power-dns.ts';
import { describeWithPowerDns, findPowerDns } from '../support/powerdns/roots.ts';

jest.setTimeout(180_000);

const powerDns = findPowerDns('trixie');
const program = findMiniStack();
const NATIVE = 'schema_tracks_changes: true';
const ZONE = 'cached.example';
const CHANGES = 5;

describeWithPowerDns(
  'PowerDNS 4.9 with its caches',
  [powerDns.missing, program === undefined ? 'no emulator of AWS' : undefined],
  () => {
    let server: MiniStack;
    let cluster: Cluster | undefined;

    beforeAll(async () => {
      makeBundle();
      server = await startMiniStack(program as string);
    });
    afterAll(() => server?.stop());
    afterEach(() => cluster?.close());

    async function open(
      hook?: (powerDns: PowerDns) => string,
    ): Promise<[ClusterHost, ClusterHost]> {
      cluster = await Cluster.open({
        root: powerDns.path as string,
        server,
        names: ['a', 'b'],
        // Every cache of its default size and time, that of the list of zones, too.
        powerDns: { 'lmdb-lightning-stream': 'yes' },
        databases: { main: NATIVE, shard: NATIVE },
        headers: 'all',
        agentSettings: hook,
      });
      return cluster.hosts as [ClusterHost, ClusterHost];
    }

    const addressAt = async ({ powerDns }: ClusterHost): Promise<string> => {
      const { answers } = await powerDns.query({ name: `www.${ZONE}`, type: 'A' });
      return answers.map(({ data }) => [...data].join('.')).join();
    };

    /** Changes a record in one host; how long until the other, which has it cached, answers with the new one. */
    async function measure(from: ClusterHost, to: ClusterHost, changes: number): Promise<number[]> {
      const latenciesMs: number[] = [];
      for (let i = 0; i < changes; i += 1) {
        await addressAt(to);
        const address = `192.0.2.${i + 10}`;
        await setAddress(from.powerDns, ZONE, { owner: `www.${ZONE}`, address });
        const startMs = performance.now();
        await cluster?.eventually(
          async () => (await addressAt(to)) === address,
          `${address} at ${to.name}`,
          90_000,
        );
        latenciesMs.push(performance.now() - startMs);
      }
      return latenciesMs.toSorted((x, y) => x - y);
    }

    test('with the hook a new zone, a changed record, new keys and a deleted zone are seen at once', async () => {
      const [a, b] = await open(
        (powerDns) => `after_merge:
  pdns:
    powerdns_url: ${powerDns.apiUrl}
    powerdns_api_key: ${powerDns.apiKey}
`,
      );
      const seen = async (what: string, isSeen: () => Promise<boolean>) => {
        const startMs = performance.now();
        await cluster?.eventually(isSeen, what);
        return performance.now() - startMs;
      };
      const rcode = async () => (await b.powerDns.query({ name: ZONE, type: 'SOA' })).rcode;
      expect(await rcode()).toBe(RCODE.refused);
      await a.powerDns.pdnsutil('create-zone', ZONE, `ns1.${ZONE}`);
      // Without the hook the list of zones is read anew after five minutes.
      const newMs = await seen('the zone', async () => (await rcode()) === RCODE.noError);
      const changedMs = await measure(a, b, CHANGES);
      const keys = async () => {
        const { answers } = await b.powerDns.query({ name: ZONE, type: 'DNSKEY', dnssec: true });
        return answers.filter(({ type }) => type === TYPE.DNSKEY).length;
      };
      expect(await keys()).toBe(0);
      await a.powerDns.pdnsutil('secure-zone', ZONE);
      await seen('a key', async () => (await keys()) === 1);
      await a.powerDns.pdnsutil('delete-zone', ZONE);
      await seen('no zone', async () => (await rcode()) === RCODE.refused);
      const metrics = await b.agent.metrics();
      expect(metrics.get('lightningstream_after_merge_runs_total')).toBeGreaterThanOrEqual(8);
      const hookMs =
        (1000 * (metrics.get('lightningstream_after_merge_duration_seconds_sum') ?? 0)) /
        (metrics.get('lightningstream_after_merge_duration_seconds_count') ?? 1);
      reportFigure(
        `with the hook: a new zone is seen after ${newMs.toFixed(0)} ms, a change after ${changedMs[CHANGES >> 1]?.toFixed(0)} ms (median), ${changedMs.at(-1)?.toFixed(0)} ms at most, of which the hook takes ${hookMs.toFixed(0)} ms`,
      );
    });

    test('without it a change is seen when the caches have expired; a hook that fails holds up nothing', async () => {
      const [a, b] = await open(
        () => `after_merge:
  broken:
    command: [sh, -c, "echo no such thing >&2; exit 1"]
`,
      );
      await a.powerDns.pdnsutil('create-zone', ZONE, `ns1.${ZONE}`);
      await a.powerDns.pdnsutil('add-record', ZONE, 'www', 'A', '60', '192.0.2.1');
      await cluster?.converged();
      await b.powerDns.stop();
      await b.powerDns.restart();
      const [latencyMs = 0] = await measure(a, b, 1);
      await cluster?.converged();
      const { warnings } = await b.agent.health();
      expect(warnings).toMatchObject({
        after_merge_broken_failed: expect.stringContaining('no such thing'),
      });
      reportFigure(`without the hook: a change is seen after ${(latencyMs / 1000).toFixed(1)} s`);
    });
  },
);
