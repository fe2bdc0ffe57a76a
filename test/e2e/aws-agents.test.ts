import { parse, stringify } from 'yaml';
import { contents, eventually, Fleet } from '../support/hosts.ts';
import { AwsStack } from '../support/aws/aws-stack.ts';
import makeBundle from '../support/bundle-setup.cjs';
import { reportFigure } from '../support/figures.ts';
import { findMiniStack, startMiniStack, type MiniStack } from '../support/aws/ministack.ts';

const AGENTS = ['a', 'b', 'c'] as const;
const CONFIG = {
  stage: 'agents',
  agents: AGENTS,
  databases: ['main'],
  agentRoles: true,
  directNotices: true,
};

const program = findMiniStack();
const suite = program === undefined ? describe.skip : describe;

/** What the stack says an agent's configuration is. */
type AgentYaml = {
  readonly storage: { readonly options: object };
  readonly notices: object;
};

suite('agents with nothing but the rights that the stack gives them', () => {
  let ministack: MiniStack;
  let stack: AwsStack;
  let fleet: Fleet;

  beforeAll(async () => {
    makeBundle();
    ministack = await startMiniStack(program ?? '', { tls: true, env: { AUTH: 'true' } });
    stack = await AwsStack.deploy(ministack, CONFIG);
    fleet = await Fleet.open();
  }, 400_000);

  afterAll(async () => {
    await fleet?.close();
    stack?.close();
    await ministack?.stop();
  }, 30_000);

  /** The configuration from the stack's outputs, with the emulator's address and its CA, and the keys of the agent's role. */
  async function startAgent(name: string, notices: object = {}) {
    const { accessKeyId, secretAccessKey, sessionToken = '' } = await stack.assume(name);
    const yaml = parse(stack.agentYaml(name)) as AgentYaml;
    const endpoint = { endpoint_url: ministack.endpoint };
    const options = {
      ...yaml.storage.options,
      ...endpoint,
      tls: { ca_file: ministack.caFile },
    };
    return fleet.startAgent(name, {
      storage: `  type: s3\n  options: ${JSON.stringify(options)}\n`,
      settings: stringify({
        // Nothing is found by listing within this test.
        storage_poll_interval: '10h',
        storage_safety_list_interval: '10h',
        notices: { ...yaml.notices, ...endpoint, ...notices },
      }),
      env: {
        AWS_ACCESS_KEY_ID: accessKeyId,
        AWS_SECRET_ACCESS_KEY: secretAccessKey,
        AWS_SESSION_TOKEN: sessionToken,
      },
    });
  }

  test('converge by notices alone', async () => {
    const hosts = AGENTS.map((name) => fleet.application(name));
    const agents = [await startAgent('a'), await startAgent('b')];
    agents.push(await startAgent('c', { direct_queue_url: stack.output('IngestQueueUrl') }));
    await Promise.all(agents.map((agent) => agent.ready()));
    const latenciesMs: number[] = [];
    for (let i = 0; i < 15; i += 1) {
      hosts[i % 3]?.write([{ key: `k${i}`, value: String(i) }]);
      const start = performance.now();
      await eventually(() => hosts.every((host) => host.read(`k${i}`)?.value === String(i)), {
        what: `k${i} everywhere`,
        agents,
        timeoutMs: 30_000,
      });
      latenciesMs.push(performance.now() - start);
    }
    const [a, b, c] = hosts.map(contents);
    expect(b).toEqual(a);
    expect(c).toEqual(a);
    const traffic = await Promise.all(agents.map((agent) => agent.traffic()));
    expect(traffic.map(({ lists }) => lists)).toEqual([1, 1, 1]);
    const logs = await Promise.all(agents.map((agent) => agent.log()));
    expect(logs.join('\n')).not.toMatch(/cannot|denied|no queue of notices/i);
    const sorted = latenciesMs.toSorted((x, y) => x - y);
    reportFigure(
      `commit -> visible in both others through the stack: p50 ${sorted[7]?.toFixed(0)} ms, max ${sorted.at(-1)?.toFixed(0)} ms`,
    );
  }, 120_000);
});
