import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import type { AgentProcess } from '../../demo/agent-process.ts';
import { eventually, Fleet } from '../support/hosts.ts';

jest.setTimeout(60_000);

const SHADOW = 'schema_tracks_changes: false';
const VERSION_5 = '\0\0\0\u0005';
const VERSION_6 = '\0\0\0\u0006';

let fleet: Fleet;
beforeEach(async () => {
  fleet = await Fleet.open();
});
afterEach(() => fleet.close());

/** Waits for a check on /healthz, warning or error; resolves with its text. */
async function check(agent: AgentProcess, name: string): Promise<string> {
  let found: string | undefined;
  await eventually(
    async () => {
      const { warnings = {}, failures = {} } = (await agent.health()) as {
        warnings?: Record<string, string>;
        failures?: Record<string, string>;
      };
      found = failures[name] ?? warnings[name];
      return found !== undefined;
    },
    { what: `${name} on /healthz`, agents: [agent] },
  );
  return found ?? '';
}

test('a forgotten schema_tracks_changes ends the start in one line, and the LMDB stays as it was', async () => {
  const application = fleet.application('a');
  application.write(Array.from({ length: 30 }, (_, i) => ({ key: `zone${i}`, value: 'v' })));
  const before = await readFile(fleet.lmdbFile('a'));
  const agent = await fleet.startAgent('a', { databaseSettings: SHADOW });
  const [code] = (await once(agent.child, 'close')) as [number];
  expect(code).toBe(1);
  const log = await agent.log();
  expect(log).toContain('does not fit `schema_tracks_changes: false` of `lmdbs.main`');
  expect(log).toContain('Try: Set `schema_tracks_changes: true` there');
  expect((await readFile(fleet.lmdbFile('a'))).equals(before)).toBe(true);
});

test('an agent in the wrong mode over an empty LMDB changes nothing elsewhere, and all sides say so', async () => {
  const a = fleet.application('a');
  const b = fleet.application('b');
  a.write([{ key: 'zone', value: 'of a' }]);
  const native = await fleet.startAgent('a');
  await native.ready();
  const wrong = await fleet.startAgent('b', { databaseSettings: SHADOW });
  await wrong.ready();
  expect(await check(wrong, 'main_wrong_schema_mode')).toContain('written in native schema mode');
  expect(b.count()).toBe(0);

  b.write([{ key: 'zone', value: 'of b' }]);
  expect(await check(native, 'main_wrong_schema_mode')).toContain('schema_tracks_changes');
  expect(a.read('zone')).toMatchObject({ value: 'of a' });
  expect(b.read('zone')).toMatchObject({ value: 'of b' });
  expect((await native.metrics()).get('lightningstream_quarantined_objects')).toBe(1);
});

test('with the right mode it goes on where it should have begun', async () => {
  const a = fleet.application('a');
  const b = fleet.application('b');
  a.write([{ key: 'one', value: '1' }]);
  const native = await fleet.startAgent('a');
  await native.ready();
  const wrong = await fleet.startAgent('b', { databaseSettings: SHADOW });
  await wrong.ready();
  b.write([{ key: 'two', value: '2' }]);
  await check(native, 'main_wrong_schema_mode');
  await wrong.stop();

  const right = await fleet.startAgent('b');
  await eventually(() => a.read('two') !== undefined && b.read('one') !== undefined, {
    what: 'the entries of both in both',
    agents: [native, right],
  });
});

test("a newer schema version of PowerDNS waits until the host's operator allows it", async () => {
  const pdns = { dbi: 'pdns' };
  const a = fleet.application('a');
  const b = fleet.application('b');
  a.write([{ key: 'schemaversion', value: VERSION_5 }], pdns);
  const upgraded = await fleet.startAgent('a');
  await upgraded.ready();
  const held = await fleet.startAgent('b');
  await held.ready();
  expect(b.read('schemaversion', 'pdns')?.value).toBe(VERSION_5);

  a.write([{ key: 'schemaversion', value: VERSION_6 }], pdns);
  a.write([{ key: 'zone', value: 'after' }]);
  expect(await check(held, 'main_schema_upgrade_held')).toContain('allow_schema_upgrade');
  await eventually(() => b.read('zone') !== undefined, { what: 'the zone in b', agents: [held] });
  expect(b.read('schemaversion', 'pdns')?.value).toBe(VERSION_5);
  expect((await held.metrics()).get('lightningstream_held_schema_version')).toBe(6);
  expect(await held.log()).toContain('a newer schema version of PowerDNS is held back');
  await held.stop();

  const allowed = await fleet.startAgent('b', {
    databaseSettings: 'schema_tracks_changes: true\n    allow_schema_upgrade: true',
  });
  await eventually(() => b.read('schemaversion', 'pdns')?.value === VERSION_6, {
    what: 'version 6 in b',
    agents: [allowed],
  });
});
