import { execFile, spawnSync } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { App } from 'aws-cdk-lib';
import { parseSyncConfig } from '../../infra/config.ts';
import { makeStacks } from '../../infra/stacks.ts';

const ROOT = resolve(__dirname, '../..');
/** Of each partition one, and the longest name. */
const REGIONS = ['us-east-1', 'ap-southeast-2', 'cn-north-1', 'us-gov-west-1'];
/** CDK states dependencies that follow from references, too. */
const IGNORED = 'W3005';
const NO_VENV_EXIT = 3;

const named = (count: number, length: number, letter: string) =>
  Array.from({ length: count }, (_, i) => `${letter}${i}-`.padEnd(length, letter));

/** The program, installed where missing; undefined where this machine has no `python3 -m venv`. */
function findCfnLint(): string | undefined {
  const { status, stdout, stderr } = spawnSync(join(ROOT, '.ci/setup-cfn-lint.sh'), {
    encoding: 'utf8',
    timeout: 300_000,
  });
  if (status !== 0 && status !== NO_VENV_EXIT) {
    throw new Error(`cannot install cfn-lint: ${stderr.trim()}`);
  }
  return status === 0 ? stdout.trim() : undefined;
}

const program = findCfnLint();
const describeWithLint = program === undefined ? describe.skip : describe;

describeWithLint('cfn-lint', () => {
  test.each([
    ['of two hosts', { agents: ['ns1', 'ns2'], databases: ['main', 'shard'] }],
    [
      'with a key, roles and mail',
      { agents: ['a', 'b'], customerKey: true, agentRoles: true, alarmEmail: 'ops@example.com' },
    ],
    [
      'of the largest fleet',
      {
        stage: 's'.repeat(15),
        agents: named(100, 40, 'a'),
        databases: named(50, 60, 'd'),
        objectPrefix: 'p'.repeat(200),
      },
    ],
  ])(
    'CloudFormation takes the templates %s in every partition',
    async (_, context) => {
      const folder = await mkdtemp(join(tmpdir(), 'cfn-lint-'));
      try {
        const app = new App({ outdir: folder, context: { 'aws:cdk:bundling-stacks': [] } });
        makeStacks(app, { config: parseSyncConfig(context), repositoryRoot: ROOT });
        app.synth();
        const files = (await readdir(folder)).filter((name) => name.endsWith('.template.json'));
        expect(files).toHaveLength(2);
        const args = ['--ignore-checks', IGNORED, '--regions', ...REGIONS, '--template'];
        const paths = files.map((name) => join(folder, name));
        const { stdout } = await promisify(execFile)(program ?? '', [...args, ...paths]);
        expect(stdout).toBe('');
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    },
    240_000,
  );
});
