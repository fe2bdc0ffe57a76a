import { FanOut, type NoticeTopic, type Refused } from '../../../lambdas/fan-out/fan-out.ts';
import { encodeNotice, parseNotice, type Notice } from '../../../protocol/notice.ts';

const DELTA_A = 'main__a__20240131-235959-012345678__Grun1__S7.delta.pb.gz';
const DELTA_B = 'main__b__20240131-235959-012345678__Grun2__S1.delta.pb.gz';

class FakeTopic implements NoticeTopic {
  readonly requests: string[][] = [];
  readonly notices: Notice[] = [];
  refuse: (notices: readonly Notice[]) => readonly Refused[] = () => [];

  async publish(notices: readonly Notice[]): Promise<readonly Refused[]> {
    this.requests.push(notices.map(({ name }) => name));
    const refused = this.refuse(notices);
    const numbers = refused.map(({ number }) => number);
    this.notices.push(...notices.filter((_, number) => !numbers.includes(number)));
    return refused;
  }

  /** Names of the published notices. */
  get names(): string[] {
    return this.notices.map(({ name }) => name);
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

function setup(objectPrefix = '') {
  const topic = new FakeTopic();
  const nowMs = () => Date.parse('2024-01-31T23:59:59.600Z');
  return { topic, fanOut: new FanOut({ topic, objectPrefix, nowMs }) };
}

test('a batch of events is one request to the topic, whatever the size of the fleet', async () => {
  const { fanOut, topic } = setup();
  const result = await fanOut.handle([message('1', DELTA_A), message('2', DELTA_B)]);
  expect(topic.requests).toEqual([[DELTA_A, DELTA_B]]);
  expect(result).toMatchObject({
    failedMessageIds: [],
    dropped: [],
    notices: 2,
    publishedNotices: 2,
    publishRequests: 1,
    delayMs: 500,
  });
});

test('a notice says database, writer, name, size and time', async () => {
  const { fanOut, topic } = setup();
  await fanOut.handle([message('1', DELTA_A)]);
  expect(topic.notices).toEqual([
    {
      version: 1,
      database: 'main',
      instance: 'a',
      name: DELTA_A,
      sizeBytes: 300,
      eventTimeMs: Date.parse('2024-01-31T23:59:59.100Z'),
    },
  ]);
  expect(parseNotice(encodeNotice(topic.notices[0] as Notice))).toEqual(topic.notices[0]);
});

test('more than ten notices are several requests', async () => {
  const { fanOut, topic } = setup();
  const keys = Array.from({ length: 20 }, (_, i) => DELTA_A.replace('S7', `S${i + 1}`));
  const result = await fanOut.handle([message('x', ...keys, DELTA_B)]);
  expect(topic.requests.map(({ length }) => length)).toEqual([10, 10, 1]);
  expect(result).toMatchObject({ publishedNotices: 21, publishRequests: 3 });
});

test('an event that comes twice in a batch is one notice', async () => {
  const { fanOut, topic } = setup();
  await fanOut.handle([message('1', DELTA_A), message('2', DELTA_A)]);
  expect(topic.names).toEqual([DELTA_A]);
});

test("the compactor's own objects are passed over", async () => {
  const { fanOut, topic } = setup();
  const result = await fanOut.handle([
    message('1', 'main__compacted__20240131-235959-012345678__Grun1__S1.base.pb.gz'),
  ]);
  expect(result).toMatchObject({ dropped: [], notices: 0 });
  expect(topic.requests).toEqual([]);
});

test("upstream's snapshots get notices too, and S3's test event is no error", async () => {
  const { fanOut, topic } = setup();
  const key = 'main__go__20240131-235959-012345678__GX.pb.gz';
  const test = { messageId: 't', body: JSON.stringify({ Event: 's3:TestEvent', Bucket: 'b' }) };
  expect(await fanOut.handle([test, message('1', key)])).toMatchObject({
    dropped: [],
    failedMessageIds: [],
  });
  expect(topic.names).toEqual([key]);
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
  const { fanOut, topic } = setup();
  const result = await fanOut.handle([{ messageId: 'poison', body }, message('good', DELTA_A)]);
  expect(result.dropped).toEqual([{ messageId: 'poison', reason: expect.any(String) as string }]);
  expect(result.failedMessageIds).toEqual([]);
  expect(topic.names).toEqual([DELTA_A]);
});

test('keys are decoded and the prefix is taken off', async () => {
  const { fanOut, topic } = setup('my prefix/');
  const key = 'my+prefix/ma%C3%AFn__a__20240131-235959-012345678__Grun1__S7.delta.pb.gz';
  const result = await fanOut.handle([message('1', key)]);
  expect(result.dropped).toEqual([]);
  expect(topic.names).toEqual(['maïn__a__20240131-235959-012345678__Grun1__S7.delta.pb.gz']);
});

test("an agent's own notice is passed on like S3's", async () => {
  const { fanOut, topic } = setup();
  const body = JSON.stringify({
    version: 1,
    database: 'main',
    instance: 'a',
    name: DELTA_A,
    sizeBytes: 1,
    eventTimeMs: 1,
  });
  await fanOut.handle([{ messageId: '1', body }]);
  expect(topic.names).toEqual([DELTA_A]);
});

test('only the messages whose notices were refused are delivered again', async () => {
  const { fanOut, topic } = setup();
  topic.refuse = () => [{ number: 1, isFinal: false, reason: 'InternalError' }];
  const result = await fanOut.handle([message('1', DELTA_A), message('2', DELTA_B)]);
  expect(result).toMatchObject({
    failedMessageIds: ['2'],
    failures: ['InternalError'],
    publishedNotices: 1,
  });
});

test('a notice that the topic will never take is dropped with the reason', async () => {
  const { fanOut, topic } = setup();
  topic.refuse = () => [{ number: 0, isFinal: true, reason: 'InvalidParameter' }];
  const result = await fanOut.handle([message('1', DELTA_A), message('2', DELTA_B)]);
  expect(result).toMatchObject({
    failedMessageIds: [],
    dropped: [{ messageId: '1', reason: 'InvalidParameter' }],
  });
  expect(topic.names).toEqual([DELTA_B]);
});

test('a request that fails does not keep the other notices back', async () => {
  const { fanOut, topic } = setup();
  const keys = Array.from({ length: 10 }, (_, i) => DELTA_A.replace('S7', `S${i + 1}`));
  topic.refuse = (notices) => {
    if (notices.length === 10) {
      throw new Error('throttled');
    }
    return [];
  };
  const result = await fanOut.handle([message('1', ...keys), message('2', DELTA_B)]);
  expect(result).toMatchObject({ failedMessageIds: ['1'], failures: ['Error: throttled'] });
  expect(topic.names).toEqual([DELTA_B]);
});
