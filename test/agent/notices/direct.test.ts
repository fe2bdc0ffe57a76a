import { SendMessageBatchCommand, SQSClient } from '@aws-sdk/client-sqs';
import { mockClient } from 'aws-sdk-client-mock';
import { setImmediate as turn } from 'node:timers/promises';
import { AnnouncingStore, DirectNotices } from '../../../agent/notices/direct.ts';
import type { Logger } from '../../../agent/log/log.ts';
import { openSqs } from '../../../agent/notices/sqs.ts';
import { bytesBody } from '../../../storage/bodies.ts';
import { MemoryObjectStore } from '../../../storage/memory.ts';

const URL = 'https://sqs.eu-west-1.amazonaws.com/111122223333/ingest';
const NOW_MS = 1_800_000_000_000;
const signal = new AbortController().signal;
const objectName = (seq: number) => `main__b__20240131-235959-012345678__Grx__S${seq}.delta.pb.gz`;
const failure = (name: string) => Object.assign(new Error(name), { name });

const sqs = mockClient(SQSClient);
beforeEach(() => {
  sqs.reset();
});

const openStore = async () => {
  const queues = await openSqs({ region: 'eu-west-1', endpointUrl: '', queueUrl: URL });
  const warnings: string[] = [];
  const logger: Logger = {
    debug: () => undefined,
    info: () => undefined,
    warn: (_, text) => void warnings.push(text),
    error: () => undefined,
    child: () => logger,
  };
  const notices = new DirectNotices({
    queues,
    queueUrl: URL,
    now: () => NOW_MS,
    sleep: () => new Promise(() => undefined),
    log: logger,
  });
  return { store: new AnnouncingStore(new MemoryObjectStore(), notices), warnings };
};

test('direct notices tell of stored objects, several at once, and of nothing else', async () => {
  sqs.on(SendMessageBatchCommand).resolves({});
  const { store } = await openStore();
  await store.create('lightningstream.bucket-id.json', bytesBody(Buffer.from('x')), signal);
  for (let seq = 1; seq <= 4; seq += 1) {
    await store.create(objectName(seq), bytesBody(Buffer.from('abc')), signal);
  }
  await store.close();
  const sent = sqs
    .commandCalls(SendMessageBatchCommand)
    .map(({ args }) => args[0].input)
    .flatMap(({ Entries = [] }) => Entries)
    .map(({ MessageBody = '' }) => JSON.parse(MessageBody) as unknown);
  expect(sent).toHaveLength(4);
  expect(sent[0]).toEqual({
    version: 1,
    database: 'main',
    instance: 'b',
    name: objectName(1),
    sizeBytes: 3,
    eventTimeMs: NOW_MS,
  });
});

test('direct notices that cannot be sent are dropped with one warning; the upload is not disturbed', async () => {
  sqs.on(SendMessageBatchCommand).rejects(failure('AccessDenied'));
  const { store, warnings } = await openStore();
  for (let seq = 1; seq <= 3; seq += 1) {
    const body = bytesBody(Buffer.from('abc'));
    expect(await store.create(objectName(seq), body, signal)).toBe('stored');
    await turn();
  }
  await store.close();
  expect(warnings).toHaveLength(1);
});
