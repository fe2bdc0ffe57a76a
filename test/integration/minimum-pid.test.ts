import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const BUNDLE = join(__dirname, '../../dist/lightningstream.cjs');

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'minimum-pid-'));
  writeFileSync(
    join(folder, 'lightningstream.yaml'),
    `lmdbs: {main: {path: lmdb, options: {create: true}}}
storage: {type: fs, options: {root_path: store}}
`,
  );
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

// Process ids below 200 are only to be had in a name space of one's own, which only root may make.
const canUnshare = spawnSync('unshare', ['--pid', '--fork', 'true']).status === 0;
const describeInNameSpace = canUnshare ? describe : describe.skip;

describeInNameSpace('in a process id name space of its own', () => {
  type Ended = { code: number | null; out: string; err: string };

  /** Runs a shell script in which process ids count from 1. */
  function run(script: string, input = ''): Promise<Ended> {
    const child = spawn(
      'unshare',
      ['--pid', '--fork', '--mount-proc', '--kill-child', 'sh', '-c', script],
      {
        cwd: folder,
      },
    );
    child.stdin.end(input);
    let out = '';
    let err = '';
    child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
    return new Promise((resolve) => child.on('close', (code) => resolve({ code, out, err })));
  }

  const command = (...args: readonly string[]) => [process.execPath, BUNDLE, ...args].join(' ');

  /** In the name space: the process ids of all agents and their children, by /proc. */
  const PIDS = `for p in /proc/[0-9]*; do readlink $p/exe | grep -q node && tr '\\0' ' ' < $p/cmdline | grep -q 'cjs sync' && echo "pid $(basename $p) $(tr '\\0' '\\n' < $p/environ | grep -c '^LIGHTNINGSTREAM_NO_PID_CHECK=1$')"; done;`;
  const WAIT_FOR_LOG =
    "i=0; while ! grep -q 'waiting for the marker file' log; do sleep 0.05; i=$((i+1)); [ $i -gt 600 ] && exit 99; done;";

  test.each([
    [60, 60],
    [100_000, 200],
  ])(
    '--minimum-pid %i runs in a process with %i at least, and a signal ends it cleanly',
    async (asked, least) => {
      const agent = command(
        'sync',
        '--wait-for-marker-file',
        'never',
        '--minimum-pid',
        String(asked),
      );
      const { code, out } = await run(
        `${agent} 2>log & pid=$!; ${WAIT_FOR_LOG} ${PIDS} kill -TERM $pid; wait $pid; echo "code $?"; ${PIDS} true`,
      );
      expect(code).toBe(0);
      const lines = out.trim().split('\n');
      const pids = lines
        .filter((line) => line.startsWith('pid '))
        .map((line) => line.split(' ').map(Number));
      // The one that waits, and the one that works.
      expect(pids).toHaveLength(2);
      const [, worker, marked] = pids.find(([, pid]) => (pid ?? 0) >= least) ?? [];
      expect(worker).toBeLessThan(least + 100);
      expect(marked).toBe(1);
      // Nobody is left, and the code is that of the child.
      expect(lines.at(-1)).toBe('code 0');
    },
  );

  test('output, errors and exit codes are those of the child', async () => {
    const version = await run(command('snapshots', 'list', '--minimum-pid', '50'));
    expect(version).toEqual({ code: 0, out: '', err: '' });
    const failed = await run(command('snapshots', 'get', 'nothing', '--minimum-pid=50'));
    expect(failed.code).toBe(1);
    expect(failed.err).toContain('Error: the storage has no object nothing\n');
    const late = command('sync', '--wait-for-marker-file', 'never', '--timeout', '200ms');
    expect((await run(`${late} --minimum-pid 50`)).code).toBe(75);
  });

  test('a child that is killed gives 128 + n', async () => {
    const agent = command('sync', '--wait-for-marker-file', 'never', '--minimum-pid', '60');
    const { out } = await run(
      `${agent} 2>log & pid=$!; ${WAIT_FOR_LOG} { ${PIDS.replace('echo "pid $(basename $p)', 'echo "$(basename $p)')} } > pids; kill -KILL $(grep ' 1$' pids | cut -d' ' -f1); wait $pid; echo "code $?"`,
    );
    expect(readFileSync(join(folder, 'pids'), 'utf8').trim().split('\n')).toHaveLength(2);
    expect(out).toBe('code 137\n');
  });

  test('with LIGHTNINGSTREAM_NO_PID_CHECK=1 nothing is started', async () => {
    const agent = command('sync', '--wait-for-marker-file', 'never', '--minimum-pid', '60');
    const { out } = await run(
      `export LIGHTNINGSTREAM_NO_PID_CHECK=1; ${agent} 2>log & pid=$!; ${WAIT_FOR_LOG} ${PIDS} kill -TERM $pid; wait $pid; true`,
    );
    const pids = out.trim().split('\n');
    expect(pids).toHaveLength(1);
    expect(Number(pids[0]?.split(' ')[1])).toBeLessThan(60);
  });
});
