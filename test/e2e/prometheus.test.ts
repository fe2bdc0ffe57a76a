import { execFile, spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { stringify } from 'yaml';
import { ALERTS } from '../../deploy/prometheus/alerts.ts';
import { ruleTestsYaml } from '../../deploy/prometheus/render.ts';
import { eventually, Fleet } from '../support/hosts.ts';

jest.setTimeout(120_000);

// promtool comes with Debian's package "prometheus".

const RULES = join(__dirname, '../../deploy/prometheus/rules.yaml');
const QUIET_MINUTES = 90;
const run = promisify(execFile);
const isMissing = spawnSync('promtool', ['--version']).error !== undefined;
const describeWithPromtool = isMissing ? describe.skip : describe;

let fleet: Fleet;
let metrics: string;

describeWithPromtool('the alerts, as Prometheus reads them', () => {
  /** What two agents in good health export, after they have sent and merged. */
  beforeAll(async () => {
    fleet = await Fleet.open();
    const [a, b] = [fleet.application('a'), fleet.application('b')];
    const agents = [await fleet.startAgent('a'), await fleet.startAgent('b')];
    await Promise.all(agents.map((agent) => agent.ready()));
    a.write([{ key: 'one', value: 'from a' }]);
    await eventually(() => b.read('one')?.value === 'from a', { what: 'a write in b', agents });
    b.write([{ key: 'two', value: 'from b' }]);
    await eventually(() => a.read('two')?.value === 'from b', { what: 'a write in a', agents });
    metrics = await (await fetch(new URL('/metrics', agents[0]!.url))).text();
  });

  afterAll(() => fleet.close());

  async function testRules(name: string, tests: string): Promise<string> {
    const file = join(fleet.folder, name);
    await writeFile(file, tests);
    const { stdout, stderr } = await run('promtool', ['test', 'rules', file]);
    return stdout + stderr;
  }

  test('Prometheus takes the rules', async () => {
    const { stdout } = await run('promtool', ['check', 'rules', RULES]);
    expect(stdout).toContain(`${ALERTS.length} rules found`);
  });

  test('each alert fires in the case that it is for', async () => {
    expect(await testRules('fires.yaml', ruleTestsYaml(RULES))).toContain('SUCCESS');
  });

  test('an alert that fires in no case would be noticed', async () => {
    const wrong = ruleTestsYaml(RULES).replaceAll(' 1x', ' 0x');
    await expect(testRules('wrong.yaml', wrong)).rejects.toThrow('FAILED');
  });

  test('all are quiet while two hosts are well, and ask for nothing that an agent does not export', async () => {
    const target = 'job="lightningstream",instance="ns1:8500"';
    const samples = metrics.split('\n').flatMap((line) => {
      const found = /^([a-z_0-9]+)(?:\{(.*)\})? (\S+)$/i.exec(line);
      if (found === null) {
        return [];
      }
      const [, family, labels, value] = found;
      const all = labels === undefined ? target : `${target},${labels}`;
      return [{ series: `${family}{${all}}`, values: `${value}x${QUIET_MINUTES}` }];
    });
    // Of a hook after merges there are samples only where one is configured.
    const exported = new Set(metrics.match(/(?<=^# HELP )\w+/gm));
    const isExported = (name: string) => exported.has(name.replace(/_bucket$/, ''));
    const asked = ALERTS.flatMap(({ expr }) => expr.match(/\b(?:lightningstream|lmdb)_\w+/g) ?? []);
    expect(asked.filter((name) => !isExported(name))).toEqual([]);
    const quiet = {
      rule_files: [RULES],
      evaluation_interval: '1m',
      tests: [
        {
          interval: '1m',
          input_series: [
            { series: `up{${target}}`, values: `1x${QUIET_MINUTES}` },
            ...samples.filter(({ series }) => asked.includes(series.slice(0, series.indexOf('{')))),
          ],
          promql_expr_test: [
            { expr: 'count(ALERTS) or vector(0)', eval_time: '80m', exp_samples: [{ value: 0 }] },
          ],
        },
      ],
    };
    expect(await testRules('quiet.yaml', stringify(quiet))).toContain('SUCCESS');
  });
});
