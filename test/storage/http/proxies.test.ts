import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import type { RequestListener } from 'node:http';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { makeCertificate } from '../../../demo/certificate.ts';
import { openSqs } from '../../../agent/notices/sqs.ts';
import { openAzureStore } from '../../../storage/azure/store.ts';
import type { ObjectStore } from '../../../storage/object-store.ts';
import type { ProxyEnvironment } from '../../../storage/http/proxy-rules.ts';
import type { S3StoreOptions } from '../../../storage/s3/options.ts';
import { openS3Store } from '../../../storage/s3/store.ts';
import {
  type AnsweringServer,
  startAnsweringServer,
} from '../../support/servers/answering-server.ts';
import { freePort } from '../../../demo/free-port.ts';
import { startTestProxy, type TestProxy } from '../../support/servers/http-proxy.ts';
import { bodyOf, readAll } from '../../support/object-store-conformance.ts';

const signal = new AbortController().signal;
let folder: string;
let caFile: string;
let tls: { cert: string; key: string };
let proxy: TestProxy | undefined;
let server: AnsweringServer | undefined;
let store: ObjectStore | undefined;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'proxies-'));
  const { certFile, keyFile } = await makeCertificate(folder, 'storage.test');
  caFile = certFile;
  tls = { cert: await readFile(certFile, 'utf8'), key: await readFile(keyFile, 'utf8') };
});
afterAll(() => rm(folder, { recursive: true }));
afterEach(async () => {
  await store?.close();
  await proxy?.stop();
  await server?.stop();
  store = proxy = server = undefined;
});

/** One object for everybody who asks. */
const answer: RequestListener = (_request, response) => {
  response.writeHead(200, { etag: '"e"', 'content-length': 5 }).end('hello');
};

const environment = (port: number, more: Partial<ProxyEnvironment> = {}): ProxyEnvironment => ({
  httpProxy: `http://127.0.0.1:${port}`,
  httpsProxy: `http://127.0.0.1:${port}`,
  noProxy: '',
  ...more,
});

async function openStore(
  address: string,
  proxies: ProxyEnvironment,
  more: Partial<S3StoreOptions> = {},
): Promise<ObjectStore> {
  store = await openS3Store({
    bucket: 'bucket',
    endpointUrl: address,
    accessKey: 'AKIDEXAMPLE',
    secretKey: 'very-secret',
    tls: { caFile },
    proxies,
    ...more,
  });
  return store;
}

test('https goes through a tunnel, one for many requests, and the certificate is that of the storage', async () => {
  proxy = await startTestProxy();
  server = await startAnsweringServer(answer, tls);
  const opened = await openStore(
    `https://storage.test:${server.port}`,
    environment(proxy.port, { httpProxy: '' }),
  );
  await opened.create('a', bodyOf('x'.repeat(100_000)), signal);
  expect((await readAll(await opened.get('a', { signal }))).toString()).toBe('hello');
  expect((await readAll(await opened.get('a', { signal }))).toString()).toBe('hello');
  expect(proxy.asked).toEqual([`CONNECT storage.test:${server.port}`]);
  expect(server.seen.map(({ method }) => method)).toEqual(['PUT', 'GET', 'GET']);
  // What only the proxy is to see.
  expect(server.seen[0]?.headers).not.toHaveProperty('proxy-connection');
});

test('a certificate for another name is refused inside the tunnel, too', async () => {
  proxy = await startTestProxy();
  server = await startAnsweringServer(answer, tls);
  const opened = await openStore(`https://other.test:${server.port}`, environment(proxy.port));
  await expect(opened.get('a', { signal })).rejects.toMatchObject({
    code: 'STORAGE_DENIED',
    message: expect.stringContaining('TLS'),
  });
});

test('http is asked of the proxy by its whole address', async () => {
  proxy = await startTestProxy();
  server = await startAnsweringServer(answer);
  const address = `http://storage.test:${server.port}`;
  const opened = await openStore(address, environment(proxy.port, { httpsProxy: '' }));
  await opened.create('a b', bodyOf('x'.repeat(100_000)), signal);
  expect((await readAll(await opened.get('a b', { signal }))).toString()).toBe('hello');
  expect(proxy.asked).toEqual([
    `PUT ${address}/bucket/a%20b?x-id=PutObject`,
    `GET ${address}/bucket/a%20b?x-id=GetObject`,
  ]);
  expect(server.seen[0]?.headers).toMatchObject({
    host: `storage.test:${server.port}`,
    'content-length': '100000',
  });
});

test('what NO_PROXY names, and this host itself, are reached directly', async () => {
  proxy = await startTestProxy();
  server = await startAnsweringServer(answer);
  const opened = await openStore(server.url, environment(proxy.port));
  expect((await readAll(await opened.get('a', { signal }))).toString()).toBe('hello');
  await opened.close();
  // No server has this name, so only the proxy could have found it.
  const named = await openStore(
    `http://storage.test:${server.port}`,
    environment(proxy.port, { noProxy: 'test' }),
  );
  await expect(named.get('a', { signal })).rejects.toMatchObject({
    message: expect.stringContaining('cannot resolve the name storage.test'),
  });
  expect(proxy.asked).toEqual([]);
});

test.each(['https', 'http'] as const)('%s: a proxy gets its credentials', async (scheme) => {
  proxy = await startTestProxy({ credentials: 'user:p@ss word' });
  server = await startAnsweringServer(answer, scheme === 'https' ? tls : undefined);
  const address = `http://user:p%40ss%20word@127.0.0.1:${proxy.port}`;
  const opened = await openStore(`${scheme}://storage.test:${server.port}`, {
    httpProxy: address,
    httpsProxy: address,
    noProxy: '',
  });
  expect((await readAll(await opened.get('a', { signal }))).toString()).toBe('hello');
  expect(server.seen[0]?.headers).not.toHaveProperty('proxy-authorization');
});

test('a proxy that refuses is told as such, without its password', async () => {
  proxy = await startTestProxy({ credentials: 'user:right' });
  server = await startAnsweringServer(answer, tls);
  const address = `http://user:wrong-password@127.0.0.1:${proxy.port}`;
  const opened = await openStore(`https://storage.test:${server.port}`, {
    httpProxy: '',
    httpsProxy: address,
    noProxy: '',
  });
  const error: unknown = await opened.get('a', { signal }).catch((e: unknown) => e);
  expect(error).toMatchObject({
    code: 'STORAGE_DENIED',
    retryable: false,
    message: expect.stringMatching(/the proxy refuses .*127\.0\.0\.1:\d+ answered HTTP 407/),
    hint: expect.stringContaining('NO_PROXY'),
  });
  expect(JSON.stringify(error, Object.getOwnPropertyNames(error))).not.toContain('wrong-password');
  expect(server.seen).toEqual([]);
});

test.each(['https', 'http'] as const)(
  '%s: a proxy that is not there is told with its address',
  async (scheme) => {
    const port = await freePort();
    const opened = await openStore(`${scheme}://storage.test:1`, environment(port));
    await expect(opened.get('a', { signal })).rejects.toMatchObject({
      code: 'STORAGE_FAILED',
      retryable: true,
      message: expect.stringContaining(`no connection to the proxy 127.0.0.1:${port}`),
      hint: expect.stringContaining('HTTPS_PROXY'),
    });
  },
);

test('a storage that the proxy cannot reach is an error that may pass', async () => {
  proxy = await startTestProxy();
  const opened = await openStore(
    `https://storage.test:${await freePort()}`,
    environment(proxy.port),
  );
  await expect(opened.get('a', { signal })).rejects.toMatchObject({
    code: 'STORAGE_FAILED',
    retryable: true,
    message: expect.stringContaining('answered HTTP 502'),
  });
});

test('a proxy that never answers is given up, and its connection ended', async () => {
  const sockets: Socket[] = [];
  const closed: boolean[] = [];
  const silent = createServer((socket) => {
    sockets.push(socket.resume());
    socket.once('close', () => closed.push(true));
  });
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const address = silent.address();
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
  const opened = await openStore('https://storage.test', environment(port), { dialTimeoutMs: 50 });
  await expect(opened.get('a', { signal })).rejects.toMatchObject({
    code: 'STORAGE_FAILED',
    retryable: true,
    message: expect.stringContaining('no answer in time'),
  });
  while (closed.length < sockets.length) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  expect(sockets.length).toBeGreaterThan(0);
  await new Promise((resolve) => silent.close(resolve));
});

test('the token of a role is asked for the same way', async () => {
  proxy = await startTestProxy();
  const tokenFile = join(folder, 'token');
  await writeFile(tokenFile, 'a.b.c');
  const role = {
    AWS_ROLE_ARN: 'arn:aws:iam::111122223333:role/agent',
    AWS_WEB_IDENTITY_TOKEN_FILE: tokenFile,
  };
  Object.assign(process.env, role);
  try {
    const opened = await openS3Store({
      bucket: 'bucket',
      region: 'eu-west-1',
      proxies: environment(proxy.port),
    });
    store = opened;
    await expect(opened.get('a', { signal })).rejects.toMatchObject({
      message: expect.stringContaining('the proxy cannot reach it'),
    });
  } finally {
    for (const name of Object.keys(role)) {
      delete process.env[name];
    }
  }
  expect(proxy.asked[0]).toMatch(/^CONNECT sts\..*\.amazonaws\.com:443$/);
});

test('Azure goes the same way', async () => {
  proxy = await startTestProxy();
  server = await startAnsweringServer(answer, tls);
  store = await openAzureStore({
    container: 'box',
    endpointUrl: `https://storage.test:${server.port}/account?sig=x`,
    tls: { caFile },
    proxies: environment(proxy.port),
  });
  expect((await readAll(await store.get('a', { signal }))).toString()).toBe('hello');
  expect(proxy.asked).toEqual([`CONNECT storage.test:${server.port}`]);
});

test('SQS goes the same way', async () => {
  proxy = await startTestProxy();
  server = await startAnsweringServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'application/x-amz-json-1.0' });
    response.end('{"QueueUrl": "https://storage.test/1/notices"}');
  }, tls);
  const queues = await openSqs({
    region: 'eu-west-1',
    endpointUrl: `https://storage.test:${server.port}`,
    queueUrl: '',
    connection: { accessKey: 'k', secretKey: 's', tls: { caFile } },
    proxies: environment(proxy.port),
  });
  expect(await queues.find('notices', signal)).toBe('https://storage.test/1/notices');
  queues.close();
  expect(proxy.asked).toEqual([`CONNECT storage.test:${server.port}`]);
});
