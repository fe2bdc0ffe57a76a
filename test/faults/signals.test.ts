import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AgentProcess } from '../../demo/agent-process.ts';
import { contents, eventually, Fleet } from '../support/hosts.ts';

jest.setTimeout(90_000);
const DEBUGGER_PORT = 9229;
/** Longer than any of these tests takes: what ends, ends while the lock is held. */
const HOLD_MS = 80_000;

let fleet: Fleet;
beforeEach(async () => {
  fleet = await Fleet.open();
});
afterEach(() => fleet.close());

/** Ports on which a process listens, by the kernel's tables. */
function listeningPorts(pid: number): number[] {
  const sockets = new Set(
    readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`)),
  );
  return ['tcp', 'tcp6'].flatMap((table) =>
    readFileSync(`/proc/${pid}/net/${table}`, 'utf8')
      .split('\n')
      .slice(1)
      .map((line) => line.trim().split(/\s+/))
      .filter(
        ([, , , state, , , , , , inode]) => state === '0A' && sockets.has(`socket:[${inode}]`),
      )
      .map(([, local = '']) => Number.parseInt(local.split(':')[1] ?? '', 16)),
  );
}

/** Resolves when the process has taken SIGHUP: the first thing that our code does. */
async function takesSignals({ pid }: AgentProcess): Promise<void> {
  const hangup = 1n;
  for (;;) {
    const [, caught = '0'] =
      /^SigCgt:\s*(\w+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
    if ((BigInt(`0x${caught}`) & hangup) !== 0n) {
      return;
    }
    await sleep(1);
  }
}

async function expectSyncing(agent: AgentProcess, host: string): Promise<void> {
  await agent.ready();
  const stores = (await agent.traffic()).stores;
  fleet.application(host).write([{ key: `after-${stores}`, value: 'x' }]);
  await eventually(async () => (await agent.traffic()).stores > stores, {
    what: 'an upload after the signals',
    agents: [agent],
  });
}

test('SIGHUP, SIGUSR1 and SIGUSR2 end nothing and open no debugger', async () => {
  fleet.application('a');
  const agent = await fleet.startAgent('a');
  await agent.ready();
  for (const signal of ['SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const) {
    agent.child.kill(signal);
  }
  const said = /SIGHUP: configuration and key files are read again|msg="\[main +\] status"/g;
  await eventually(async () => ((await agent.log()).match(said) ?? []).length === 3, {
    what: 'a line for each',
    agents: [agent],
  });
  const log = await agent.log();
  expect(log).toMatch(/msg="\[main +\] status" db=main .*started=true unsent=0/);
  expect(log).not.toContain('Debugger');
  expect(listeningPorts(agent.pid)).toEqual([Number(new URL(agent.url).port)]);
  await expectSyncing(agent, 'a');
  expect(await agent.stop()).toBe(0);
});

test.each([[['sync']], [['receive']]])(
  'signals before anything is loaded end nothing either: %j',
  async (verb) => {
    fleet.application('a');
    const agent = await fleet.startAgent('a', { verb });
    await takesSignals(agent);
    for (const signal of ['SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const) {
      agent.child.kill(signal);
    }
    await agent.ready();
    expect(listeningPorts(agent.pid)).not.toContain(DEBUGGER_PORT);
    // The SIGHUP is not forgotten: it is carried out once the configuration is known.
    expect(await agent.log()).toContain('SIGHUP: configuration and key files are read again');
    expect(await agent.stop()).toBe(0);
  },
);

test('SIGHUP takes a new log level, names what needs a restart, and refuses a broken file', async () => {
  fleet.application('a');
  const agent = await fleet.startAgent('a');
  await agent.ready();
  const file = readFileSync(agent.configFile, 'utf8');
  const reloadWith = async (text: string, line: string) => {
    writeFileSync(agent.configFile, text);
    agent.child.kill('SIGHUP');
    await eventually(async () => (await agent.log()).includes(line), {
      what: line,
      agents: [agent],
    });
  };
  await reloadWith(`${file}\nlog: {level: debug}\n`, 'changed=log.level');
  fleet.application('a').write([{ key: 'k', value: 'v' }]);
  await eventually(async () => (await agent.log()).includes('level=debug'), {
    what: 'a line of the new level',
    agents: [agent],
  });
  await reloadWith(`${file}\nlog: {level: loud}\n`, 'level=error msg="SIGHUP: ');
  expect((await agent.health())['warnings']).toMatchObject({
    configuration_reload: expect.stringContaining('must be one of'),
  });
  await reloadWith(`${file}\nmax_lock_hold: 1s\n`, 'needs_restart=max_lock_hold');
  expect((await agent.health())['warnings']).toEqual({
    configuration_reload: 'the configuration has changes that need a restart: max_lock_hold',
  });
  await expectSyncing(agent, 'a');
  expect(await agent.stop()).toBe(0);
});

test('a start says what runs where, and a stop what was sent', async () => {
  const a = fleet.application('a');
  const agent = await fleet.startAgent('a');
  await agent.ready();
  a.write([{ key: 'k', value: 'v' }]);
  expect(await agent.stop()).toBe(0);
  const log = await agent.log();
  expect(log).toMatch(
    /msg=starting databases=1 folder=\S+ http=\S+ instance=a node=v\S+ .*version=/,
  );
  expect(log).toMatch(
    /msg="\[main +\] syncing this LMDB" db=main .*path=\S+ schema=native size=\d+/,
  );
  expect(log).toMatch(/msg=stopped merged_objects=0 sent_entries=1 sent_objects=1 unsent=0/);
});

describe('while another program holds the write lock', () => {
  async function lockedAgent(verb: readonly string[]): Promise<AgentProcess> {
    const { lock } = await locked();
    const settings = 'shutdown_timeout: 1s\n';
    return fleet.startAgent('a', { verb, settings, databases: { main: lock } });
  }

  async function locked(): Promise<{ lock: string }> {
    fleet.application('a').write([{ key: 'k', value: 'v' }]);
    const lock = fleet.lmdbFile('a');
    await fleet.startChild('lock-holder.ts', lock, String(HOLD_MS));
    return { lock };
  }

  async function logs(agent: AgentProcess, text: string): Promise<void> {
    await eventually(async () => (await agent.log()).includes(text), {
      what: text,
      agents: [agent],
    });
  }

  test('SIGTERM ends the agent after shutdown_timeout, and it says why', async () => {
    const agent = await lockedAgent(['sync']);
    await logs(agent, 'syncing this LMDB');
    agent.child.kill('SIGTERM');
    expect(await agent.ended(HOLD_MS / 2)).toBe('SIGTERM');
    await logs(agent, 'another program holds its write lock; the next start sends what is left');
  });

  test('a second signal ends it at once', async () => {
    const agent = await lockedAgent(['sync']);
    await logs(agent, 'syncing this LMDB');
    agent.child.kill('SIGINT');
    await sleep(200);
    agent.child.kill('SIGTERM');
    expect(await agent.ended(HOLD_MS / 2)).toBe('SIGTERM');
    await logs(agent, 'ended at once by a second SIGTERM, without the clean end');
  });

  test('--timeout ends it, and it says what it waits for', async () => {
    const agent = await lockedAgent(['--timeout', '500ms', 'sync', '--only-once']);
    // 75 cannot be had: Node waits for the thread that waits for the lock.
    expect(await agent.ended(HOLD_MS / 2)).toBe('SIGTERM');
    await logs(agent, 'Error: not done after 500ms: it waits for the LMDB of main (open)');
  });

  test.each([['stats'], ['drop-shadow']])('--timeout ends %s', async (command) => {
    const agent = await lockedAgent(['--timeout', '300ms', command]);
    expect(await agent.ended(HOLD_MS / 2)).toBe('SIGTERM');
    await logs(agent, 'Error: not done after 300ms: it waits for the write lock of an LMDB');
  });

  test.each([
    ['stats', 1500],
    ['stats', 0],
    ['dump', 300],
    ['drop-shadow', 1500],
    ['drop-shadow', 100],
  ])('SIGTERM ends %s, after %i ms', async (command, afterMs) => {
    const agent = await lockedAgent([command]);
    await takesSignals(agent);
    // Half of the times it comes before the LMDB is opened, and half while that waits for the lock.
    await sleep(afterMs);
    agent.child.kill('SIGTERM');
    // By the kernel, or by its own end.
    expect(['SIGTERM', 143]).toContain(await agent.ended(HOLD_MS / 2));
  });
});

test.each([
  ['unhandledRejection', 'Promise.reject(new Error("boom"))'],
  ['uncaughtException', '(() => { throw new Error("boom"); })()'],
])(
  'an error that nobody expected is one line with its place, and ends with 1: %s',
  async (origin, code) => {
    fleet.application('a');
    const script = join(fleet.folder, 'bug.cjs');
    writeFileSync(script, `process.on('SIGURG', function bug() { ${code}; });`);
    const agent = await fleet.startAgent('a', { env: { NODE_OPTIONS: `--require ${script}` } });
    await agent.ready();
    const ended = once(agent.child, 'exit');
    agent.child.kill('SIGURG');
    expect(await ended).toEqual([1, null]);
    await eventually(async () => (await agent.log()).includes('Try: report it'), {
      what: 'the report',
      agents: [agent],
    });
    expect(await agent.log()).toMatch(
      new RegExp(`^Error: this is a bug \\(${origin}\\): boom at .*bug\\.cjs:1:`, 'm'),
    );
  },
);

test('a log that nobody reads any more does not end the agent', async () => {
  const a = fleet.application('a');
  const b = fleet.application('b');
  const agent = await fleet.startAgent('a');
  await agent.ready();
  agent.child.stderr?.destroy();
  agent.child.kill('SIGUSR1');
  a.write([{ key: 'k', value: 'v' }]);
  const reader = await fleet.startAgent('b');
  await eventually(() => b.read('k') !== undefined, { what: 'the write in b', agents: [reader] });
  expect(contents(b)).toEqual(contents(a));
  expect(await agent.stop()).toBe(0);
});
