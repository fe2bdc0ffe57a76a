import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AgentProcess } from '../../demo/agent-process.ts';
import { Application, wallClockNs } from '../../demo/application.ts';
import { formatObjectName, newRun } from '../../protocol/object-name.ts';
import { eventually, Fleet } from '../support/hosts.ts';

let fleet: Fleet;
beforeEach(async () => {
  fleet = await Fleet.open();
});
afterEach(() => fleet.close());

/** A host with its application, past its start. */
async function startHost(
  host: string,
  settings?: string,
): Promise<{ application: Application; agent: AgentProcess }> {
  const application = fleet.application(host);
  const agent = await fleet.startAgent(host, { settings });
  await agent.ready();
  return { application, agent };
}

/** Waits for the warning; resolves with its text. Warnings keep the answer 200. */
async function warning(agent: AgentProcess, name: string): Promise<string> {
  let found: string | undefined;
  await eventually(
    async () => {
      const { warnings, ok } = (await agent.health()) as {
        ok: boolean;
        warnings: Record<string, string>;
      };
      expect(ok).toBe(true);
      found = warnings[name];
      return found !== undefined;
    },
    { what: `${name} on /healthz`, agents: [agent] },
  );
  return found ?? '';
}

const HOUR_NS = 3_600_000_000_000n;

test('a clock that is behind is reported where it is, one that is ahead everywhere', async () => {
  const a = await startHost('a');
  const b = await startHost('b');
  a.application.write([{ key: 'zone', value: 'now' }]);
  await eventually(() => b.application.read('zone') !== undefined, {
    what: 'the zone in b',
    agents: [a.agent, b.agent],
  });
  b.application.write([{ key: 'zone', value: 'old' }], { timestampNs: wallClockNs() - HOUR_NS });
  expect(await warning(b.agent, 'main_clock_behind')).toContain('set the clock');
  expect(b.application.read('zone')?.value).toBe('now');

  a.application.write([{ key: 'ahead', value: 'x' }], { timestampNs: wallClockNs() + HOUR_NS });
  expect(await warning(a.agent, 'main_clock_skew')).toContain('check the clocks');
  expect(await warning(b.agent, 'main_clock_skew')).toContain('check the clocks');
});

test('a damaged object is named, and its instance is behind', async () => {
  const { agent } = await startHost('a');
  const name = formatObjectName({
    database: 'main',
    instance: 'broken',
    timeNs: wallClockNs(),
    run: newRun((bytes) => new Uint8Array(bytes).fill(7)),
    seq: 1n,
    kind: 'snapshot',
  });
  await writeFile(join(fleet.bucket, name), 'no gzip');
  expect(await warning(agent, 'main_quarantined_objects')).toContain(name);
  const metrics = await agent.metrics();
  expect(metrics.get('lightningstream_quarantined_objects')).toBe(1);
  expect(metrics.get('lightningstream_instance_lag_seconds')).toBeGreaterThan(0);
});

test('two agents of one name are reported by both, after their next listing', async () => {
  const settings = 'storage_poll_interval: 200ms\nnotices:\n  type: poll\n';
  const a = await startHost('a', settings);
  const copy = fleet.application('copy');
  const twin = await fleet.startAgent('copy', {
    verb: ['--instance', 'a', 'sync'],
    settings,
  });
  await twin.ready();
  a.application.write([{ key: 'one', value: '1' }]);
  expect(await warning(twin, 'main_instance_name_shared')).toContain('a name of its own');
  copy.write([{ key: 'two', value: '2' }]);
  expect(await warning(a.agent, 'main_instance_name_shared')).toContain('a name of its own');
  // Nothing is lost between them.
  await eventually(
    () => a.application.read('two') !== undefined && copy.read('one') !== undefined,
    {
      what: 'the writes of both',
      agents: [a.agent, twin],
    },
  );
});

test('an object that is too large for the map is reported, and merged once the application has enlarged it', async () => {
  const a = await startHost('a');
  const file = fleet.lmdbFile('small');
  const small = Application.open(file, { mapSizeBytes: 512 * 1024, noSync: true });
  small.write([{ key: 'own', value: 'x' }]);
  const agent = await fleet.startAgent('small', { mapSize: '512KB' });
  await agent.ready();
  const value = 'v'.repeat(1000);
  a.application.write(Array.from({ length: 2000 }, (_, i) => ({ key: `key-${i}`, value })));
  expect(await warning(agent, 'main_object_too_large')).toMatch(
    /takes more than 3 MiB.*enlarge the map size/,
  );
  small[Symbol.dispose]();

  using large = Application.open(file, { mapSizeBytes: 64 * 1024 * 1024, noSync: true });
  large.write([{ key: 'own', value: 'y' }]);
  await eventually(() => large.count() === 2001, {
    what: 'all in small',
    agents: [a.agent, agent],
  });
  await eventually(async () => Object.keys((await agent.health())['warnings'] ?? {}).length === 0, {
    what: 'no warning any more',
    agents: [agent],
  });
});
