import { parseConfig } from '../../../agent/config/config.ts';
import { foreignOriginOf, sqsOptions } from '../../../agent/notices/sqs-options.ts';

const FOLDER = 'storage: {type: fs, options: {root_path: /tmp/x}}\n';
const S3 = 'storage: {type: s3, options: {bucket: b, region: eu-west-1}}\n';
const keysAt = (endpoint: string) =>
  `storage: {type: s3, options: {bucket: b, access_key: ak, secret_key: sk, endpoint_url: "${endpoint}"}}\n`;

function parse(text: string) {
  return parseConfig(`lmdbs: {main: {path: /db}}\n${text}`, {
    fileName: 'ls.yaml',
    processEnv: {},
    hostname: 'host',
    overrides: { instance: 'a' },
  }).config;
}

test.each([
  ['eu-central-1', `${S3}notices: {queue_prefix: p, region: eu-central-1}\n`],
  ['us-west-2', `${S3}notices: {queue_url: "https://sqs.us-west-2.amazonaws.com/1/q"}\n`],
  ['eu-west-1', `${S3}notices: {queue_prefix: p}\n`],
  ['', `${FOLDER}notices: {queue_prefix: p}\n`],
])('the region is %j with %s', (region, text) => {
  expect(sqsOptions(parse(text)).region).toBe(region);
});

test.each([
  [true, 'https://s3.amazonaws.com', '{queue_prefix: p}'],
  [true, 'https://s3.eu-west-1.amazonaws.com', '{queue_prefix: p}'],
  [true, 'http://127.0.0.1:4566', '{queue_prefix: p, endpoint_url: "http://127.0.0.1:4566/"}'],
  [true, 'http://127.0.0.1:4566', '{queue_url: "http://127.0.0.1:4566/1/q"}'],
  [false, 'https://minio.example.org', '{queue_prefix: p}'],
  [false, 'https://s3.amazonaws.com', '{queue_prefix: p, endpoint_url: "https://sqs.example.org"}'],
  [false, 'https://amazonaws.com.example.org', '{queue_prefix: p}'],
])('keys of the storage are used for the queue: %s, with %s and %s', (used, endpoint, notices) => {
  const { connection } = sqsOptions(parse(`${keysAt(endpoint)}notices: ${notices}\n`));
  expect(connection?.accessKey).toBe(used ? 'ak' : undefined);
});

test.each([
  ['', undefined],
  ['https://sqs.eu-west-1.amazonaws.com/1/q', undefined],
  ['https://sqs.cn-north-1.amazonaws.com.cn/1/q', undefined],
  ['http://127.0.0.1:4566/1/q', 'http://127.0.0.1:4566'],
  ['https://amazonaws.com.example.org/1/q', 'https://amazonaws.com.example.org'],
])('the queue %j is elsewhere than at AWS: %j', (url, origin) => {
  expect(foreignOriginOf(url)).toBe(origin);
});
