import { execFile, spawnSync } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { blockOf, commandsOf, section } from '../support/markdown.ts';

const ROOT = resolve(__dirname, '../..');
/** What a host has, besides Node: no compiler, no npm. */
const HOST_PROGRAMS = ['env', 'sh', 'mkdir', 'tar', 'gzip', 'ln'];
const ON_HOST = /\/(opt|usr\/local\/bin|etc|var\/lib)\b/g;

const run = promisify(execFile);
let folder: string;
let guide: string;
let unit: string;

/** The guide's text for a host whose file system begins in the folder. */
const onHost = (text: string) => text.replaceAll(ON_HOST, (path) => `${folder}/host${path}`);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'host-'));
  guide = await readFile(join(ROOT, 'docs/install.md'), 'utf8');
  unit = blockOf(section(guide, 'Run as a service'), 'ini');
  for (const path of ['opt', 'usr/local/bin', 'etc', 'var/lib/powerdns', 'bin']) {
    await mkdir(join(folder, 'host', path), { recursive: true });
  }
  for (const program of HOST_PROGRAMS) {
    const { stdout } = await run('sh', ['-c', `command -v ${program}`]);
    await symlink(stdout.trim(), join(folder, 'host/bin', program));
  }
  await symlink(process.execPath, join(folder, 'host/bin/node'));
  // What git has: no modules, nothing built.
  const { stdout } = await run(
    'git',
    ['ls-files', '-z', '--cached', '--others', '--exclude-standard'],
    {
      cwd: ROOT,
      maxBuffer: 16 * 1024 * 1024,
    },
  );
  for (const file of stdout.split('\0').filter((name) => name !== '')) {
    if (file.startsWith('test/')) {
      continue;
    }
    const target = join(folder, 'source', file);
    await mkdir(dirname(target), { recursive: true });
    await cp(join(ROOT, file), target);
  }
  for (const command of commandsOf(section(guide, 'Build once'))) {
    await run('sh', ['-c', command], { cwd: join(folder, 'source'), maxBuffer: 16 * 1024 * 1024 });
  }
}, 300_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Runs a command as on a host that has not got what the build needs. */
function runOnHost(command: string) {
  const path = `${folder}/host/bin:${folder}/host/usr/local/bin`;
  const cwd = join(folder, 'host');
  return run('sh', ['-c', onHost(command)], { cwd, env: { PATH: path } });
}

test('an archive built once runs on a host without compiler and npm', async () => {
  await cp(
    join(folder, 'source/lightningstream.tar.gz'),
    join(folder, 'host/lightningstream.tar.gz'),
  );
  await rm(join(folder, 'source'), { recursive: true });
  const commands = commandsOf(section(guide, 'Install on each host'));
  let last = '';
  for (const command of commands) {
    last = (await runOnHost(command)).stdout;
  }
  const { version } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as {
    version: string;
  };
  expect(last.trim()).toBe(version);

  await mkdir(join(folder, 'host/store'));
  await writeFile(
    join(folder, 'host/etc/lightningstream.yaml'),
    `instance: ns1
lmdbs:
  main:
    path: ${folder}/host/var/lib/powerdns/pdns.lmdb
    schema_tracks_changes: true
    options: { no_subdir: true, create: true }
storage: { type: fs, options: { root_path: ${folder}/host/store } }
`,
  );
  const start = /^ExecStart=(.*)$/m.exec(unit)?.[1] ?? '';
  const { stdout, stderr } = await runOnHost(`${start} --only-once`);
  expect(`${stdout}${stderr}`).toContain('Initial sync done');
  expect(await readdir(join(folder, 'host/var/lib/powerdns'))).toContain('pdns.lmdb');
});

const hasSystemd = spawnSync('systemd-analyze', ['--version']).status === 0;
const withSystemd = hasSystemd ? describe : describe.skip;

withSystemd('the unit', () => {
  test('gives systemd nothing to complain about', async () => {
    const file = join(folder, 'lightningstream.service');
    await writeFile(file, onHost(unit));
    const { stdout, stderr } = await run('systemd-analyze', ['verify', file]);
    expect(`${stdout}${stderr}`).toBe('');
  });
});
