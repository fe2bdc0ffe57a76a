import { FanOut, type NoticeQueues } from '../../../lambdas/fan-out/fan-out.ts';
import { parseNotice } from '../../../protocol/notice.ts';

const PREFIX = 'ls-prod-notices-';
const url = (instance: string) => `https://sqs.eu-west-1.amazonaws.com/1/${PREFIX}${instance}`;
const DELTA_A = 'main__a__20240131-235959-012345678__Grun1__S7.delta.pb.gz';
const DELTA_B = 'main__b__20240131-235959-012345678__Grun2__S1.delta.pb.gz';

class FakeQueues implements NoticeQueues {
  readonly received = new Map<string, string[]>();
  listRequests = 0;
  sendRequests = 0;
  urls: string[];
  refuse: (queueUrl: string) => 'gone' | 'throw' | readonly number[] = () => [];

  constructor(instances: readonly string[]) {
    this.urls = instances.map(url);
  }

  async list(): Promise<readonly string[]> {
    this.listRequests += 1;
    return [...this.urls];
  }

  async send(queueUrl: string, bodies: readonly string[]): Promise<'gone' | readonly number[]> {
    this.sendRequests += 1;
    const answer = this.refuse(queueUrl);
    if (answer === 'throw') {
      throw new Error('throttled');
    }
    if (answer === 'gone') {
      return 'gone';
    }
    const taken = bodies.filter((_, number) => !answer.includes(number));
    const names = taken.map((body) => parseNotice(body).name);
    this.received.set(queueUrl, [...(this.received.get(queueUrl) ?? []), ...names]);
    return answer;
  }
}

function s3Record(key: string, eventName = 'ObjectCreated:Put') {
  return {
    eventName,
    eventTime: '2024-01-31T23:59:59.100Z',
    s3: { bucket: { name: 'b' }, object: { key, size: 300 } },
  };
}

function message(messageId: string, ...keys: string[]) {
  return { messageId, body: JSON.stringify({ Records: keys.map((key) => s3Record(key)) }) };
}

function setup(instances: readonly string[], objectPrefix = '') {
  const queues = new FakeQueues(instances);
  let nowMs = Date.parse('2024-01-31T23:59:59.600Z');
  const fanOut = new FanOut({
    queues,
    queuePrefix: PREFIX,
    objectPrefix,
    nowMs: () => nowMs,
  });
  return {
    queues,
    fanOut,
    later: (ms: number) => {
      nowMs += ms;
    },
  };
}

test('every agent but the writer gets a notice', async () => {
  const { fanOut, queues } = setup(['a', 'b', 'c']);
  const result = await fanOut.handle([message('1', DELTA_A), message('2', DELTA_B)]);
  expect(Object.fromEntries(queues.received)).toEqual({
    [url('a')]: [DELTA_B],
    [url('b')]: [DELTA_A],
    [url('c')]: [DELTA_A, DELTA_B],
  });
  expect(result).toMatchObject({
    failedMessageIds: [],
    dropped: [],
    sentNotices: 4,
    sendRequests: 3,
    delayMs: 500,
  });
});

test('a notice says database, writer, name, size and time', async () => {
  const { fanOut, queues } = setup(['c']);
  const bodies: string[] = [];
  queues.send = async (_, sent) => {
    bodies.push(...sent);
    return [];
  };
  await fanOut.handle([message('1', DELTA_A)]);
  expect(parseNotice(bodies[0] ?? '')).toEqual({
    version: 1,
    database: 'main',
    instance: 'a',
    name: DELTA_A,
    sizeBytes: 300,
    eventTimeMs: Date.parse('2024-01-31T23:59:59.100Z'),
  });
});

test('a batch of ten events costs one request per agent', async () => {
  const { fanOut, queues } = setup(['b', 'c']);
  const keys = Array.from({ length: 10 }, (_, i) => DELTA_A.replace('S7', `S${i + 1}`));
  await fanOut.handle(keys.map((key, i) => message(String(i), key)));
  expect(queues.sendRequests).toBe(2);
  await fanOut.handle([message('x', ...keys, DELTA_B)]);
  expect(queues.received.get(url('c'))).toHaveLength(21);
});

test('an event that comes twice in a batch is one notice', async () => {
  const { fanOut, queues } = setup(['c']);
  await fanOut.handle([message('1', DELTA_A), message('2', DELTA_A)]);
  expect(queues.received.get(url('c'))).toEqual([DELTA_A]);
});

test("the compactor's own objects are passed over", async () => {
  const { fanOut, queues } = setup(['c']);
  const result = await fanOut.handle([
    message('1', 'main__compacted__20240131-235959-012345678__Grun1__S1.base.pb.gz'),
  ]);
  expect(result).toMatchObject({ dropped: [], notices: 0 });
  expect(queues.sendRequests).toBe(0);
});

test("upstream's snapshots get notices too, and S3's test event is no error", async () => {
  const { fanOut, queues } = setup(['c']);
  const key = 'main__go__20240131-235959-012345678__GX.pb.gz';
  const test = { messageId: 't', body: JSON.stringify({ Event: 's3:TestEvent', Bucket: 'b' }) };
  expect(await fanOut.handle([test, message('1', key)])).toMatchObject({
    dropped: [],
    failedMessageIds: [],
  });
  expect(queues.received.get(url('c'))).toEqual([key]);
});

test.each([
  ['no JSON', 'nonsense'],
  ['JSON of something else', '{"hello": 1}'],
  ['null', 'null'],
  ['a foreign object', message('', 'photos/cat.jpg').body],
  ['an object outside the prefix', message('', DELTA_A).body.replace('key":"', 'key":"other/')],
  ['a key that cannot be decoded', message('', '%E0%A4%A.pb.gz').body],
  ['a deletion', JSON.stringify({ Records: [s3Record(DELTA_A, 'ObjectRemoved:Delete')] })],
  [
    'a direct notice that lies',
    JSON.stringify({
      version: 1,
      database: 'main',
      instance: 'c',
      name: DELTA_A,
      sizeBytes: 1,
      eventTimeMs: 1,
    }),
  ],
])('%s is dropped with a reason and never tried again', async (_, body) => {
  const { fanOut, queues } = setup(['c']);
  const result = await fanOut.handle([{ messageId: 'poison', body }, message('good', DELTA_A)]);
  expect(result.dropped).toEqual([{ messageId: 'poison', reason: expect.any(String) as string }]);
  expect(result.failedMessageIds).toEqual([]);
  expect(queues.received.get(url('c'))).toEqual([DELTA_A]);
});

test('keys are decoded and the prefix is taken off', async () => {
  const { fanOut, queues } = setup(['c'], 'my prefix/');
  const key = 'my+prefix/ma%C3%AFn__a__20240131-235959-012345678__Grun1__S7.delta.pb.gz';
  const result = await fanOut.handle([message('1', key)]);
  expect(result.dropped).toEqual([]);
  expect(queues.received.get(url('c'))).toEqual([
    'maïn__a__20240131-235959-012345678__Grun1__S7.delta.pb.gz',
  ]);
});

test("an agent's own notice is passed on like S3's", async () => {
  const { fanOut, queues } = setup(['a', 'c']);
  const body = JSON.stringify({
    version: 1,
    database: 'main',
    instance: 'a',
    name: DELTA_A,
    sizeBytes: 1,
    eventTimeMs: 1,
  });
  await fanOut.handle([{ messageId: '1', body }]);
  expect([...queues.received]).toEqual([[url('c'), [DELTA_A]]]);
});

test('queues are found once a minute', async () => {
  const { fanOut, queues, later } = setup(['c']);
  await fanOut.handle([message('1', DELTA_A)]);
  queues.urls.push(url('new'));
  later(59_000);
  await fanOut.handle([message('2', DELTA_A)]);
  expect(queues.received.has(url('new'))).toBe(false);
  later(1_000);
  await fanOut.handle([message('3', DELTA_A)]);
  expect(queues.received.has(url('new'))).toBe(true);
  expect(queues.listRequests).toBe(2);
});

test('a queue that was deleted meanwhile is no error, and the queues are found anew', async () => {
  const { fanOut, queues } = setup(['b', 'c']);
  queues.refuse = (queueUrl) => (queueUrl === url('b') ? 'gone' : []);
  const result = await fanOut.handle([message('1', DELTA_A)]);
  expect(result).toMatchObject({ failedMessageIds: [], goneQueues: [url('b')], sentNotices: 1 });
  await fanOut.handle([message('2', DELTA_A)]);
  expect(queues.listRequests).toBe(2);
});

test('only the messages whose notices were refused are delivered again', async () => {
  const { fanOut, queues } = setup(['c', 'd']);
  queues.refuse = (queueUrl) => (queueUrl === url('c') ? [1] : []);
  const result = await fanOut.handle([message('1', DELTA_A), message('2', DELTA_B)]);
  expect(result.failedMessageIds).toEqual(['2']);
});

test('trouble with one queue does not keep the others from their notices', async () => {
  const { fanOut, queues } = setup(['b', 'c', 'd']);
  queues.refuse = (queueUrl) => (queueUrl === url('b') ? 'throw' : []);
  const result = await fanOut.handle([message('1', DELTA_A)]);
  expect(result.failedMessageIds).toEqual(['1']);
  expect([...queues.received.keys()]).toEqual([url('c'), url('d')]);
});

test('two hundred agents cost two hundred requests, some at a time', async () => {
  const { fanOut, queues } = setup(Array.from({ length: 200 }, (_, i) => `agent-${i}`));
  let under = 0;
  let most = 0;
  queues.send = async () => {
    under += 1;
    most = Math.max(most, under);
    await new Promise((resolve) => setImmediate(resolve));
    under -= 1;
    return [];
  };
  const result = await fanOut.handle([message('1', DELTA_A)]);
  expect(result).toMatchObject({ sendRequests: 200, sentNotices: 200, failedMessageIds: [] });
  expect(most).toBeLessThanOrEqual(25);
});
