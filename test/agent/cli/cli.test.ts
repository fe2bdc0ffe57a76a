import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCli } from '../../../agent/cli/cli.ts';
import type { CliDeps } from '../../../agent/cli/commands/context.ts';
import type { RunOptions } from '../../../agent/agent.ts';
import { unfinished } from '../../../agent/pacing/unfinished.ts';
import { SyncError } from '../../../protocol/errors.ts';
import { Application } from '../../support/lmdb.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cli-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const NATIVE = 'main: {path: /nowhere, schema_tracks_changes: true}';

function configFile(yaml = `lmdbs: {${NATIVE}}\nstorage: {type: memory}\n`): string {
  const path = join(folder, `${Math.random().toString(36).slice(2)}.yaml`);
  writeFileSync(path, yaml);
  return path;
}

type Ran = { out: string; err: string; error: SyncError | undefined; runs: RunOptions[] };

async function run(args: readonly string[], deps: Partial<CliDeps> = {}): Promise<Ran> {
  const ran: Ran = { out: '', err: '', error: undefined, runs: [] };
  try {
    await runCli(args, {
      stdout: { write: (text: string) => (ran.out += text) },
      stderr: { write: (text: string) => (ran.err += text) },
      version: '1.2.3',
      signal: new AbortController().signal,
      now: () => 1_800_000_000_000,
      pid: 4711,
      runAgent: async (_config, options) => {
        ran.runs.push(options);
      },
      ...deps,
    });
  } catch (error) {
    if (!(error instanceof SyncError)) {
      throw error;
    }
    ran.error = error;
  }
  return ran;
}

describe('without a configuration', () => {
  test.each([
    [['--help'], /^Usage: lightningstream \[options\] \[command\]/],
    [['-h'], /^Usage: lightningstream/],
    [[], /^Usage: lightningstream/],
    [['help'], /^Usage: lightningstream \[options\] \[command\]/],
    [['help', 'sync'], /^Usage: lightningstream sync/],
    [['help', 'snapshots', 'list'], /^Usage: lightningstream snapshots list/],
    [['sync', '--help'], /^Usage: lightningstream sync/],
    [['snapshots'], /^Usage: lightningstream snapshots/],
    [['snapshots', 'put', '-h'], /^Usage: lightningstream snapshots put/],
    [['version'], /^1\.2\.3\n$/],
    [['--version'], /^lightningstream version 1\.2\.3\n$/],
    [['-v'], /^lightningstream version 1\.2\.3\n$/],
    [['completion', 'bash'], /complete -o default -F _lightningstream lightningstream\n$/],
    [['completion', 'zsh'], /^#compdef lightningstream\n/],
    [['completion', 'fish'], /-a sync -d /],
    [['completion', 'powershell'], /Register-ArgumentCompleter/],
    [['docs'], /^# Command line/],
  ])('%j works', async (args, expected) => {
    const { out, error } = await run(args);
    expect(error).toBeUndefined();
    expect(out).toMatch(expected);
  });

  test.each([
    [['snc'], "unknown command 'snc'", 'did you mean sync?'],
    [['snapshots', 'lst'], "unknown command 'lst'", 'did you mean list?'],
    [['help', 'nope'], "unknown command 'nope'", 'lightningstream --help'],
    [['sync', '--only-onec'], "unknown option '--only-onec'", 'did you mean --only-once?'],
    [['--timeout', 'soon', 'stats'], 'cannot read duration "soon"', 'lightningstream --help'],
    [['--minimum-pid', 'x', 'stats'], 'It must be a whole number.', 'lightningstream --help'],
    [
      ['completion', 'tcsh'],
      'Allowed choices are bash, zsh, fish, powershell',
      'lightningstream --help',
    ],
    [['snapshots', 'get'], "missing required argument 'name'", 'lightningstream --help'],
    [['stats', 'extra'], 'too many arguments', 'lightningstream --help'],
  ])('%j is refused', async (args, message, hint) => {
    const { error, out } = await run(args);
    expect(error?.code).toBe('USAGE');
    expect(error?.message).toContain(message);
    expect(error?.hint).toBe(hint);
    expect(out).toBe('');
  });

  test.each([['sync'], ['receive'], ['stats'], ['dump'], ['snapshots list']])(
    '%s needs one',
    async (command) => {
      const { error } = await run([...command.split(' '), '-c', join(folder, 'missing.yaml')]);
      expect(error?.code).toBe('CONFIG_INVALID');
      expect(error?.message).toContain('missing.yaml');
      expect(error?.hint).toContain('--config');
    },
  );
});

describe('sync and receive', () => {
  test.each([
    [['sync'], { receiveOnly: false, onlyOnce: false, onlyDatabases: [] }],
    [['receive'], { receiveOnly: true, onlyOnce: false }],
    [['sync', '--only-once'], { onlyOnce: true }],
    [['receive', '--only-once'], { receiveOnly: true, onlyOnce: true }],
    [['sync', '--wait-for-marker-file', 'ready'], { waitForMarkerFile: 'ready' }],
    [['sync', '--wait-for-marker-file=ready'], { waitForMarkerFile: 'ready' }],
    [['sync', '--only-db', 'main', '--only-db', 'x'], { onlyDatabases: ['main', 'x'] }],
    [['receive', '--only-db', 'x'], { receiveOnly: true, onlyDatabases: ['x'] }],
  ])('%j', async (args, expected) => {
    const file = configFile(`lmdbs: {${NATIVE}, x: {path: /x}}\nstorage: {type: memory}\n`);
    const { runs, error } = await run([...args, '--config', file]);
    expect(error).toBeUndefined();
    expect(runs).toHaveLength(1);
    expect(runs[0]).toMatchObject({ ...expected, version: '1.2.3' });
  });

  test.each(['sync', 'receive'])(
    '%s refuses a database that is not configured',
    async (command) => {
      const file = configFile();
      const { error, runs } = await run([command, '-c', file, '--only-db', 'mian']);
      expect(error).toMatchObject({
        code: 'USAGE',
        message: 'no database "mian" in the configuration',
        hint: 'Name one of: main.',
      });
      expect(runs).toEqual([]);
    },
  );

  describe('receive --only-once --only-if-empty', () => {
    const command = ['receive', '--only-once', '--only-if-empty', '-c'];
    async function hosts(...lmdbs: readonly { name: string; dbi?: string }[]): Promise<string> {
      const paths: string[] = [];
      for (const { name, dbi } of lmdbs) {
        const path = join(folder, `${name}.lmdb`);
        if (dbi !== undefined) {
          const application = new Application(path, { mapSize: 1 << 20 });
          application.put(dbi, 'k', { value: 'v', ts: 1n });
          await application.close();
        }
        paths.push(
          `${name}: {path: ${path}, options: {no_subdir: true}, schema_tracks_changes: true}`,
        );
      }
      return configFile(`lmdbs: {${paths.join(', ')}}\nstorage: {type: memory}\n`);
    }

    test('does nothing where every LMDB has data', async () => {
      const file = await hosts({ name: 'one', dbi: 'zones' }, { name: 'two', dbi: 'records' });
      expect(await run([...command, file])).toMatchObject({ error: undefined, runs: [] });
    });

    test.each([
      ['one is missing', undefined],
      ['one has nothing but what agents keep there', '_sync_state'],
    ])('runs as ever where %s', async (_what, dbi) => {
      const file = await hosts(
        { name: 'full', dbi: 'zones' },
        { name: 'empty', ...(dbi ? { dbi } : {}) },
      );
      expect((await run([...command, file])).runs).toMatchObject([
        { receiveOnly: true, onlyOnce: true },
      ]);
    });

    test('is refused where the agent is to go on', async () => {
      const { error, runs } = await run(['receive', '--only-if-empty', '-c', configFile()]);
      expect(error).toMatchObject({ code: 'USAGE', hint: expect.stringContaining('--only-once') });
      expect(runs).toEqual([]);
    });
  });

  test('only_once of the file counts too', async () => {
    const file = configFile(`only_once: true\nlmdbs: {${NATIVE}}\n`);
    expect((await run(['sync', '-c', file])).runs[0]?.onlyOnce).toBe(true);
  });

  test('global flags work before and after the command', async () => {
    const file = configFile();
    let instances: string[] = [];
    const runAgent: CliDeps['runAgent'] = async (config) => {
      instances = [...instances, config.instance, config.log.level];
    };
    await run(['-c', file, '-i', 'x_1', '--debug', 'sync'], { runAgent });
    await run(['sync', `--config=${file}`, '--instance=y', '--log-level', 'error'], { runAgent });
    expect(instances).toEqual(['x-1', 'debug', 'y', 'error']);
  });

  test.each([
    ['lmdbs: {"a.b": {path: /x, schema_tracks_changes: true}}', 'database name "a.b"'],
    ['lmdbs: {a__b: {path: /x, schema_tracks_changes: true}}', 'database name "a__b"'],
  ])('refuses to start with %j', async (yaml, message) => {
    const { error, runs } = await run(['sync', '-c', configFile(yaml)]);
    expect(error?.code).toBe('CONFIG_INVALID');
    expect(error?.message).toContain(message);
    expect(error?.message).not.toContain('\n');
    expect(error?.hint).toBeDefined();
    expect(runs).toEqual([]);
  });

  test('starts with databases without the native schema, with and without dupsort_hack', async () => {
    const file = configFile('lmdbs: {main: {path: /x, dupsort_hack: true}, shard: {path: /y}}');
    expect((await run(['sync', '-c', file])).error).toBeUndefined();
  });

  test('a database whose name cannot be used does not matter when another one is synced', async () => {
    const file = configFile(`lmdbs: {${NATIVE}, "a.b": {path: /x}}`);
    expect((await run(['sync', '--only-db', 'main', '-c', file])).error).toBeUndefined();
  });

  test('starts with cleaner and sweeper without a warning', async () => {
    const file = configFile(
      `lmdbs: {${NATIVE}}\nsweeper: {enabled: true}\nstorage: {type: memory, cleanup: {enabled: true}}`,
    );
    const { err, runs } = await run(['sync', '-c', file]);
    expect(runs).toHaveLength(1);
    expect(err).not.toMatch(/sweeper|cleanup/);
  });

  test.each([
    [40, 50, false],
    [50, 50, true],
    [199, 5000, false],
    [200, 5000, true],
    [2, 0, true],
  ])('process id %i with --minimum-pid %i', async (pid, minimum, allowed) => {
    const args = ['sync', '-c', configFile(), '--minimum-pid', String(minimum)];
    const raised: number[] = [];
    const runWithHigherPid = async (lowest: number) => raised.push(lowest);
    expect((await run(args, { pid, runWithHigherPid })).runs).toHaveLength(allowed ? 1 : 0);
    expect(raised).toEqual(allowed ? [] : [minimum]);
  });

  test('--timeout ends it, with its own error', async () => {
    const runAgent: CliDeps['runAgent'] = (_config, { signal }) =>
      new Promise((resolve) => {
        signal.addEventListener('abort', () => resolve());
      });
    const { error } = await run(['sync', '-c', configFile(), '--timeout', '1ms'], { runAgent });
    expect(error?.code).toBe('TIMED_OUT');
  });

  test('--timeout names what failed last', async () => {
    const runAgent: CliDeps['runAgent'] = (_config, { signal, log }) =>
      new Promise((resolve) => {
        log.child({ db: 'main' }).warn({ error: 'ECONNREFUSED' }, 'cannot list, trying again');
        signal.addEventListener('abort', () => resolve());
      });
    const { error } = await run(['sync', '-c', configFile(), '--timeout', '1ms'], { runAgent });
    expect(error?.message).toBe('not done after 1ms: main: cannot list: ECONNREFUSED');
  });

  test('--timeout names what it waits for where nothing failed', async () => {
    const runAgent: CliDeps['runAgent'] = (_config, { signal }) =>
      new Promise((resolve) => {
        const done = unfinished.begin('the storage (list main__*)');
        signal.addEventListener('abort', () => {
          done();
          resolve();
        });
      });
    const { error } = await run(['sync', '-c', configFile(), '--timeout', '1ms'], { runAgent });
    expect(error?.message).toBe('not done after 1ms: it waits for the storage (list main__*)');
  });

  test('a command that is done in time is not timed out', async () => {
    const { error } = await run(['sync', '-c', configFile(), '--timeout', '1h']);
    expect(error).toBeUndefined();
  });

  test('the end of the process reaches the agent', async () => {
    const stop = new AbortController();
    const runAgent: CliDeps['runAgent'] = (_config, { signal }) =>
      new Promise((resolve) => {
        signal.addEventListener('abort', () => resolve());
        stop.abort();
      });
    const { error } = await run(['sync', '-c', configFile()], { runAgent, signal: stop.signal });
    expect(error).toBeUndefined();
  });
});

test('--log-config shows the configuration, but no secrets', async () => {
  const file = configFile(
    `lmdbs: {${NATIVE}}\nstorage: {type: s3, options: {bucket: b, access_key: AK, secret_key: hidden}}`,
  );
  const { err } = await run(['sync', '--log-config', '-c', file]);
  expect(err).toContain('level=info');
  expect(err).toContain('bucket: b');
  expect(err).toContain("secret_key: '***'");
  expect(err).toContain("access_key: '***'");
  expect(err).not.toContain('hidden');
});

test('a variable that is not set is warned of', async () => {
  const { err } = await run([
    'sync',
    '-c',
    configFile(`instance: $NOT_SET_ANYWHERE\nlmdbs: {${NATIVE}}`),
  ]);
  expect(err).toContain('level=warning');
  expect(err).toContain('$NOT_SET_ANYWHERE is not set');
});

test.each([['--log-level'], ['--log-format'], ['--log-timestamp']])(
  '%s is checked',
  async (flag) => {
    const { error } = await run(['sync', '-c', configFile(), flag, 'nonsense']);
    expect(error?.code).toBe('CONFIG_INVALID');
    expect(error?.message).toContain(`${flag} must be one of`);
  },
);

test.each([
  ['cli.md', 'commands'],
  ['configuration.md', 'configuration'],
])('docs/%s is the output of "docs %s": write it anew after a change', async (file, topic) => {
  const { out } = await run(['docs', topic]);
  expect(readFileSync(join(__dirname, '../../../docs', file), 'utf8')).toBe(out);
});
