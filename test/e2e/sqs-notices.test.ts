import {
  DeleteQueueCommand,
  GetQueueAttributesCommand,
  ListQueueTagsCommand,
  QueueDoesNotExist,
  SendMessageCommand,
} from '@aws-sdk/client-sqs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AgentProcess } from '../../demo/agent-process.ts';
import { contents, eventually, Fleet } from '../support/hosts.ts';
import makeBundle from '../support/bundle-setup.cjs';
import { reportFigure } from '../support/figures.ts';
import { findMiniStack, startMiniStack, type MiniStack } from '../support/aws/ministack.ts';
import { NoticeBucket } from '../support/aws/notice-bucket.ts';

jest.setTimeout(120_000);

const program = findMiniStack();
const describeWithServer = program === undefined ? describe.skip : describe;
/** Nothing is found by listing within a test. */
const NEVER = 'storage_poll_interval: 10h\nstorage_safety_list_interval: 10h\n';

describeWithServer('notices over SQS', () => {
  let server: MiniStack;
  let fleet: Fleet;
  let bucket: NoticeBucket;

  beforeAll(async () => {
    makeBundle();
    server = await startMiniStack(program as string);
  });
  afterAll(() => server?.stop());
  beforeEach(async () => {
    fleet = await Fleet.open();
    bucket = await NoticeBucket.open(
      server,
      `notices-${fleet.folder.split('-').at(-1)?.toLowerCase()}`,
    );
  });
  afterEach(async () => {
    await fleet.close();
    await bucket.close();
  });

  const settingsOf = (more = '', intervals = NEVER) => `${intervals}${bucket.notices()}${more}`;
  const queueUrlOf = (instance: string) => bucket.queueUrlOf(instance);

  async function startAgents(settings: string, ...hosts: string[]): Promise<AgentProcess[]> {
    const agents: AgentProcess[] = [];
    for (const host of hosts) {
      fleet.application(host);
      agents.push(await fleet.startAgent(host, { storage: bucket.storage(), settings }));
    }
    await Promise.all(agents.map((agent) => agent.ready()));
    await eventually(
      async () => {
        const known = await Promise.allSettled(hosts.map(queueUrlOf));
        return known.every(({ status }) => status === 'fulfilled');
      },
      { what: 'the queues of the agents', agents },
    );
    return agents;
  }

  test('hosts converge by notices alone, and nobody lists', async () => {
    const agents = await startAgents(settingsOf(), 'a', 'b', 'c');
    await bucket.notifyOfObjects();
    bucket.startFanOut();
    const [a, b, c] = ['a', 'b', 'c'].map((host) => fleet.application(host)) as [A, A, A];
    type A = ReturnType<Fleet['application']>;
    const lists = async () =>
      Promise.all(agents.map(async (agent) => (await agent.traffic()).lists));
    a.write([{ key: 'first', value: '0' }]);
    await eventually(() => b.count() === 1 && c.count() === 1, { what: 'the first', agents });
    const before = await lists();
    const latenciesMs: number[] = [];
    for (let i = 0; i < 10; i += 1) {
      const [from, ...to] = [
        [a, b, c],
        [b, c, a],
        [c, a, b],
      ][i % 3] as [A, A, A];
      from.write([{ key: `k${i}`, value: String(i) }]);
      const start = performance.now();
      await eventually(() => to.every((host) => host.read(`k${i}`)?.value === String(i)), {
        what: `k${i} everywhere`,
        agents,
      });
      latenciesMs.push(performance.now() - start);
    }
    expect(contents(b)).toEqual(contents(a));
    expect(contents(c)).toEqual(contents(a));
    expect(await lists()).toEqual(before);
    const sorted = latenciesMs.toSorted((x, y) => x - y);
    const metrics = await (agents[1] as AgentProcess).metrics();
    const delayMs =
      (1000 * (metrics.get('lightningstream_notice_delay_seconds_sum') ?? 0)) /
      (metrics.get('lightningstream_notice_delay_seconds_count') ?? 1);
    reportFigure(
      `commit -> visible in both others over SQS: p50 ${sorted[5]?.toFixed(0)} ms, max ${sorted.at(-1)?.toFixed(0)} ms; event -> notice received: mean ${delayMs.toFixed(0)} ms`,
    );
  });

  test('a queue made by its agent has tags and forgets soon', async () => {
    await startAgents(settingsOf(), 'a');
    const QueueUrl = await queueUrlOf('a');
    const { Attributes } = await bucket.sqs.send(
      new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['All'] }),
    );
    expect(Attributes).toMatchObject({
      MessageRetentionPeriod: '14400',
      ReceiveMessageWaitTimeSeconds: '20',
    });
    const { Tags } = await bucket.sqs.send(new ListQueueTagsCommand({ QueueUrl }));
    expect(Tags).toMatchObject({ lightningstream: 'notices', 'lightningstream:instance': 'a' });
  });

  test('idle, an agent only waits on its queue and lists once per safety interval', async () => {
    const intervals = 'storage_poll_interval: 10h\nstorage_safety_list_interval: 2s\n';
    const agents = await startAgents(settingsOf('  wait_time: 1s\n', intervals), 'a');
    const [agent] = agents as [AgentProcess];
    fleet.application('a').write([{ key: 'k', value: 'v' }]);
    await eventually(async () => (await agent.traffic()).stores > 0, { what: 'an upload', agents });
    // The second listing may be the first that shows the object of this agent.
    await sleep(2500);
    const before = await requestsOf(agent);
    await sleep(6000);
    const after = await requestsOf(agent);
    const made = Object.fromEntries(
      Object.entries(after).map(([kind, count]) => [kind, count - (before[kind] ?? 0)]),
    );
    expect(
      Object.keys(made)
        .filter((kind) => (made[kind] ?? 0) > 0)
        .toSorted(),
    ).toEqual(['list', 'sqs-receive']);
    expect(made['list']).toBeLessThanOrEqual(4);
    expect(made['list']).toBeGreaterThanOrEqual(2);
    expect(made['sqs-receive']).toBeLessThanOrEqual(8);
  });

  test('a lost notice costs the safety interval, a broken message nothing', async () => {
    const intervals = 'storage_poll_interval: 10h\nstorage_safety_list_interval: 3s\n';
    const agents = await startAgents(settingsOf('', intervals), 'a', 'b');
    // Nobody passes notices on.
    await bucket.sqs.send(
      new SendMessageCommand({ QueueUrl: await queueUrlOf('b'), MessageBody: 'nonsense' }),
    );
    fleet.application('a').write([{ key: 'k', value: 'v' }]);
    const b = fleet.application('b');
    await eventually(() => b.read('k')?.value === 'v', { what: 'k by listing', agents });
    const agent = agents[1] as AgentProcess;
    await eventually(async () => (await agent.log()).includes('is no notice'), {
      what: 'a log line about nonsense',
      agents,
    });
    expect(await agent.log()).not.toContain('nonsense');
    const { QueueUrl } = { QueueUrl: await queueUrlOf('b') };
    await agent.stop();
    const { Attributes } = await bucket.sqs.send(
      new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['All'] }),
    );
    expect(Attributes).toMatchObject({
      ApproximateNumberOfMessages: '0',
      ApproximateNumberOfMessagesNotVisible: '0',
    });
  });

  test('with direct notices nobody waits for the event of the bucket', async () => {
    const agents = await startAgents(
      settingsOf(`  direct_queue_url: ${bucket.ingestUrl}\n`),
      'a',
      'b',
    );
    bucket.startFanOut();
    fleet.application('a').write([{ key: 'k', value: 'v' }]);
    const b = fleet.application('b');
    await eventually(() => b.read('k')?.value === 'v', { what: 'k by direct notice', agents });
    const { 'sqs-send': sent } = await requestsOf(agents[0] as AgentProcess);
    expect(sent).toBe(1);
  });

  test('a queue that goes away is made again, and the storage is polled until it works', async () => {
    const intervals = 'storage_poll_interval: 200ms\nstorage_safety_list_interval: 10h\n';
    const agents = await startAgents(settingsOf('  wait_time: 1s\n', intervals), 'a', 'b');
    const QueueUrl = await queueUrlOf('b');
    await bucket.sqs.send(new DeleteQueueCommand({ QueueUrl }));
    fleet.application('a').write([{ key: 'k', value: 'v' }]);
    const b = fleet.application('b');
    await eventually(() => b.read('k')?.value === 'v', { what: 'k by listing', agents });
    await eventually(
      () =>
        queueUrlOf('b').then(
          () => true,
          (error: unknown) => {
            if (error instanceof QueueDoesNotExist) {
              return false;
            }
            throw error;
          },
        ),
      { what: 'a new queue', agents },
    );
    expect(await (agents[1] as AgentProcess).log()).toContain('no queue of notices');
  });
});

async function requestsOf(agent: AgentProcess): Promise<Record<string, number>> {
  const response = await fetch(`${agent.url}/status.json`);
  const { requests } = (await response.json()) as { requests: Record<string, number> };
  return requests;
}
