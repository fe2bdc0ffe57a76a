import { createHmac } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage, RequestListener } from 'node:http';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import type { AzureStoreOptions } from '../../../storage/azure/options.ts';
import { KeyReload } from '../../../storage/http/key-reload.ts';
import { openAzureCredentials } from '../../../storage/azure/credentials.ts';
import { openAzureStore } from '../../../storage/azure/store.ts';
import type { ObjectStore } from '../../../storage/object-store.ts';
import type { RequestReport } from '../../../storage/requests.ts';
import {
  type AnsweringServer,
  startAnsweringServer,
} from '../../support/servers/answering-server.ts';
import { freePort } from '../../../demo/free-port.ts';
import { bodyOf, bytesOf, listAll, readAll } from '../../support/object-store-conformance.ts';

const signal = new AbortController().signal;
const ACCOUNT_KEY = Buffer.from('very secret').toString('base64');
let server: AnsweringServer | undefined;
let store: ObjectStore | undefined;
let reports: RequestReport[] = [];

/** A store whose server answers as `listener` says. */
async function openAgainst(
  listener: RequestListener,
  more: Partial<AzureStoreOptions> = {},
): Promise<ObjectStore> {
  reports = [];
  server = await startAnsweringServer(listener);
  store = await openAzureStore({
    container: 'box',
    endpointUrl: `${server.url}/account`,
    accountName: 'account',
    accountKey: ACCOUNT_KEY,
    useSharedKey: true,
    onRequest: (report) => reports.push(report),
    ...more,
  });
  return store;
}

afterEach(async () => {
  await store?.close();
  await server?.stop();
  store = undefined;
  server = undefined;
});

const failure = (status: number, code: string): RequestListener => {
  return (_request, response) => {
    response.writeHead(status, {
      'content-type': 'application/xml',
      'x-ms-error-code': code,
      'x-ms-request-id': 'R1',
    });
    const text = 'says why.\nRequestId:R1\nTime:now';
    response.end(
      `<?xml version="1.0"?><Error><Code>${code}</Code><Message>${text}</Message></Error>`,
    );
  };
};

test('a small object is one conditional request with its MD5, under the prefix', async () => {
  const opened = await openAgainst(
    (_request, response) => response.writeHead(201, { etag: '"e"' }).end(),
    { globalPrefix: 'fleet/' },
  );
  expect(await opened.create('a b', bodyOf('hello'), signal)).toBe('stored');
  expect(server?.seen).toHaveLength(1);
  const { method, url, headers } = server?.seen[0] ?? {};
  expect([method, url]).toEqual(['PUT', '/account/box/fleet/a%20b']);
  expect(headers).toMatchObject({
    'if-none-match': '*',
    'content-length': '5',
    'x-ms-blob-content-md5': 'XUFAKrxLKna5cZ2REBfFkg==',
    'x-ms-blob-type': 'BlockBlob',
    authorization: expect.stringMatching(/^SharedKey account:/),
  });
  expect(reports).toMatchObject([{ kind: 'store' }]);
});

test.each([
  ['AuthenticationFailed', 403, 'STORAGE_DENIED', false, 'account_key'],
  ['InvalidAuthenticationInfo', 401, 'STORAGE_DENIED', false, 'clock'],
  ['AuthorizationPermissionMismatch', 403, 'STORAGE_DENIED', true, 'Storage Blob Data Contributor'],
  ['ContainerNotFound', 404, 'STORAGE_DENIED', false, 'create_container'],
  ['AccountIsDisabled', 403, 'STORAGE_DENIED', true, 'Enable'],
  ['BlobImmutableDueToPolicy', 409, 'STORAGE_DENIED', false, 'without one'],
  ['LeaseIdMissing', 412, 'STORAGE_FAILED', false, 'storage.options'],
  ['ContainerBeingDeleted', 409, 'STORAGE_FAILED', true, 'storage account'],
  ['TooManyRequests', 429, 'STORAGE_FAILED', true, 'storage account'],
  ['ServerBusy', 503, 'STORAGE_FAILED', true, 'storage account'],
  ['Md5Mismatch', 400, 'STORAGE_FAILED', true, 'network'],
  ['InvalidBlockList', 400, 'STORAGE_FAILED', true, 'network'],
  ['InvalidResourceName', 400, 'STORAGE_FAILED', false, 'storage.options'],
])('%s (%i) becomes %s, retryable %s', async (name, status, code, retryable, hint) => {
  const opened = await openAgainst(failure(status, name));
  await expect(opened.create('a', bodyOf('x'), signal)).rejects.toMatchObject({
    code,
    retryable,
    hint: expect.stringContaining(hint),
    message: expect.stringMatching(
      /^cannot store a in container box at 127\.0\.0\.1:\d+: .*\(\w+, HTTP \d+, request R1\): says why\.$/,
    ),
  });
  // A busy storage is asked three times by the SDK.
  expect(server?.seen).toHaveLength(status === 503 ? 3 : 1);
  expect(reports).toMatchObject([{ kind: 'store', error: name }]);
});

test.each([
  ['BlobAlreadyExists', 409],
  ['ConditionNotMet', 412],
])('%s means that another writer was first, and is no failure', async (code, status) => {
  const opened = await openAgainst(failure(status, code));
  expect(await opened.create('a', bodyOf('x'), signal)).toBe('exists');
  const lost = await opened.putIfUnchanged('a', bytesOf('x'), { signal, etag: '"e"' });
  expect(lost).toBeUndefined();
  expect(server?.seen[1]?.headers['if-match']).toBe('"e"');
  expect(reports.map(({ error }) => error)).toEqual([undefined, undefined]);
});

test('a conditional write that was repeated and then refused is looked at before it counts as lost', async () => {
  let stored = 'ours';
  let tries = 0;
  const opened = await openAgainst((request, response) => {
    if (request.method === 'GET') {
      response.writeHead(200, { etag: '"now"', 'content-length': stored.length }).end(stored);
      return;
    }
    tries += 1;
    failure(tries === 1 ? 500 : 412, tries === 1 ? 'InternalError' : 'ConditionNotMet')(
      request,
      response,
    );
  });
  const write = () => opened.putIfUnchanged('m', bytesOf('ours'), { signal, etag: '"e"' });
  expect(await write()).toBe('"now"');
  stored = 'them';
  tries = 0;
  expect(await write()).toBeUndefined();
});

test('a download that the server cuts off is an error that may pass', async () => {
  const opened = await openAgainst((_request, response) => {
    response.writeHead(200, { 'content-length': '1000', etag: '"e"' });
    response.write('x'.repeat(100), () => response.destroy());
  });
  const object = await opened.get('a', { signal });
  expect(object?.sizeBytes).toBe(1000);
  await expect(readAll(object)).rejects.toMatchObject({ code: 'STORAGE_FAILED', retryable: true });
  // Not taken up again by the SDK: the caller begins anew.
  expect(server?.seen).toHaveLength(1);
});

test('a download that stands still is ended', async () => {
  const opened = await openAgainst(
    (_request, response) => {
      response.writeHead(200, { 'content-length': '1000', etag: '"e"' });
      response.write('x'.repeat(100));
    },
    { stallTimeoutMs: 50 },
  );
  const object = await opened.get('a', { signal });
  await expect(readAll(object)).rejects.toMatchObject({ code: 'STORAGE_FAILED', retryable: true });
});

test('a server that never answers is given up, on a new connection and on one that was used before', async () => {
  let isSilent = true;
  const opened = await openAgainst(
    (_request, response) => {
      if (!isSilent) {
        response.writeHead(404, { 'x-ms-error-code': 'BlobNotFound' }).end();
      }
    },
    { stallTimeoutMs: 50 },
  );
  const silent = {
    code: 'STORAGE_FAILED',
    retryable: true,
    message: expect.stringContaining('no answer in time'),
  };
  await expect(opened.get('a', { signal })).rejects.toMatchObject(silent);
  isSilent = false;
  expect(await opened.get('a', { signal })).toBeUndefined();
  isSilent = true;
  await expect(opened.get('a', { signal })).rejects.toMatchObject(silent);
  expect(reports.map(({ error }) => error)).toEqual(['Timeout', 'NotFound', 'Timeout']);
});

test('an operation that takes too long as a whole is ended', async () => {
  const opened = await openAgainst(() => undefined, { clientTimeoutMs: 50 });
  await expect(opened.get('a', { signal })).rejects.toMatchObject({
    code: 'STORAGE_FAILED',
    retryable: true,
    hint: expect.stringContaining('client_timeout'),
  });
});

test('a server that never answers the TLS handshake is given up', async () => {
  const sockets: Socket[] = [];
  const silent = createServer((socket) => sockets.push(socket));
  const port = await freePort();
  await new Promise<void>((resolve) => silent.listen(port, '127.0.0.1', resolve));
  store = await openAzureStore({
    container: 'box',
    endpointUrl: `https://127.0.0.1:${port}/account?sig=x`,
    tlsHandshakeTimeoutMs: 20,
  });
  await expect(store.get('a', { signal })).rejects.toMatchObject({
    code: 'STORAGE_FAILED',
    retryable: true,
    message: expect.stringContaining('no answer in time'),
  });
  for (const socket of sockets) {
    socket.destroy();
  }
  await new Promise((resolve) => silent.close(resolve));
});

test('a listing whose pages do not end is an error', async () => {
  const opened = await openAgainst((_request, response) => {
    response.writeHead(200, { 'content-type': 'application/xml' });
    response.end(
      '<?xml version="1.0"?><EnumerationResults><Blobs/><NextMarker>T</NextMarker></EnumerationResults>',
    );
  });
  await expect(listAll(opened, '')).rejects.toMatchObject({
    code: 'STORAGE_FAILED',
    message: expect.stringContaining('no next page'),
  });
});

test('a server that is not there is told with its address, and no error carries the SAS', async () => {
  const port = await freePort();
  store = await openAzureStore({
    container: 'box',
    endpointUrl: `http://127.0.0.1:${port}/account?sv=2024&sig=very-secret`,
  });
  const error: unknown = await store.get('a', { signal }).catch((e: unknown) => e);
  expect(error).toMatchObject({
    code: 'STORAGE_FAILED',
    retryable: true,
    message: expect.stringContaining(`at 127.0.0.1:${port}: nothing listens there`),
    hint: expect.stringContaining('endpoint_url'),
  });
  expect(JSON.stringify(error, Object.getOwnPropertyNames(error))).not.toContain('very-secret');
  expect(error).not.toHaveProperty('cause');
});

describe('credentials', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'azure-key-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  test.each([
    ['use_shared_key', { useSharedKey: true, accountKey: 'k' }, 'shared-key'],
    ['a SAS', { endpointUrl: 'https://a.example/?sv=1&sig=x' }, 'sas'],
    ['nothing', {}, 'default'],
    ['a key alone, as upstream', { accountKey: 'k' }, 'default'],
  ])('with %s', async (_what, options, kind) => {
    const opened = await openAzureCredentials({ accountName: 'account', ...options });
    expect(opened.credentials.kind).toBe(kind);
    if (opened.credentials.kind === 'default') {
      expect(opened.credentials.credential.constructor.name).toBe('DefaultAzureCredential');
      expect(opened.endpoint.href).toBe('https://account.blob.core.windows.net/');
    }
  });

  test('a SAS is sent with every request, and nothing else', async () => {
    const opened = await openAgainst(failure(404, 'BlobNotFound'));
    await opened.close();
    const sas = await openAzureStore({
      container: 'box',
      endpointUrl: `${server?.url}/account?sv=1&sig=x%2B1`,
    });
    expect(await sas.get('a', { signal })).toBeUndefined();
    await sas.close();
    const { url, headers } = server?.seen[0] ?? {};
    expect(url).toBe('/account/box/a?sv=1&sig=x%2B1');
    expect(headers).not.toHaveProperty('authorization');
  });

  test('the key file is read anew every interval, without the line end', async () => {
    const accountKeyFile = join(folder, 'key');
    let nowMs = 1000;
    await writeFile(accountKeyFile, 'KEY1\n');
    const { credentials } = await openAzureCredentials(
      { accountName: 'account', useSharedKey: true, accountKeyFile },
      () => nowMs,
    );
    if (credentials.kind !== 'shared-key') {
      throw new Error('another kind');
    }
    expect(await credentials.key()).toBe('KEY1');
    await writeFile(accountKeyFile, 'KEY2');
    nowMs += 14_999;
    expect(await credentials.key()).toBe('KEY1');
    nowMs += 1;
    expect(await credentials.key()).toBe('KEY2');
    await rm(accountKeyFile);
    nowMs += 20_000;
    expect(await credentials.key()).toBe('KEY2');
  });

  test('a reload takes the key that is configured now, or reads its file before the interval is over', async () => {
    const accountKeyFile = join(folder, 'key');
    const keyReload = new KeyReload();
    await writeFile(accountKeyFile, 'KEY1');
    const options = { accountName: 'account', useSharedKey: true, accountKeyFile };
    const { credentials } = await openAzureCredentials({ ...options, keyReload }, () => 1000);
    if (credentials.kind !== 'shared-key') {
      throw new Error('another kind');
    }
    expect(await credentials.key()).toBe('KEY1');
    await writeFile(accountKeyFile, 'KEY2');
    expect(await credentials.key()).toBe('KEY1');
    keyReload.reload(options);
    expect(await credentials.key()).toBe('KEY2');
    keyReload.reload({ accountKey: 'KEY3' });
    expect(await credentials.key()).toBe('KEY3');
  });

  test('a key that has changed signs the requests that follow', async () => {
    const accountKeyFile = join(folder, 'key');
    const keys = ['first', 'second'].map((text) => Buffer.from(text).toString('base64'));
    await writeFile(accountKeyFile, keys[0] as string);
    const opened = await openAgainst(failure(404, 'BlobNotFound'), {
      accountKeyFile,
      secretsRefreshIntervalMs: 1000,
    });
    const keyOfLastRequest = async () => {
      await opened.get('a', { signal });
      const request = server?.seen.at(-1);
      const isSignedBy = (key: string) =>
        request?.headers.authorization === signatureOf(request, key);
      return keys.findIndex(isSignedBy);
    };
    expect(await keyOfLastRequest()).toBe(0);
    await writeFile(accountKeyFile, keys[1] as string);
    while ((await keyOfLastRequest()) !== 1) {
      await sleep(50);
    }
  });
});

/** What Azure's "Authorize with Shared Key" asks for, of a request without a body. */
function signatureOf(request: IncomingMessage | undefined, key: string): string {
  const { method, url = '', headers = {} } = request ?? {};
  const own = Object.entries(headers)
    .filter(([name]) => name.startsWith('x-ms-'))
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}:${String(value)}`);
  const text = [method, ...Array.from({ length: 11 }, () => ''), ...own, `/account${url}`].join(
    '\n',
  );
  const hmac = createHmac('sha256', Buffer.from(key, 'base64')).update(text).digest('base64');
  return `SharedKey account:${hmac}`;
}

test.each([
  [{ container: '' }, 'no container'],
  [{ endpointUrl: '', accountName: '' }, 'account_name'],
  [{ endpointUrl: '', accountName: 'a.evil.example/' }, 'account_name'],
  [{ endpointUrl: 'azure.example' }, 'http://'],
  [{ endpointUrl: 'https://user:pass@azure.example' }, 'user name'],
  [{ accountName: '' }, 'account_name'],
  [{ accountKey: '' }, 'account_key'],
  [{ useSharedKey: false, endpointUrl: 'http://azure.example' }, 'https only'],
  [{ accountKeyFile: '/x', secretsRefreshIntervalMs: 500 }, '1s'],
  [{ endpointUrl: 'https://azure.example', tls: { caFile: '/nowhere/ca.pem' } }, '/nowhere/ca.pem'],
])('options %j are refused', async (options, text) => {
  const opening = openAzureStore({
    container: 'box',
    endpointUrl: 'http://127.0.0.1:1/account',
    accountName: 'account',
    accountKey: ACCOUNT_KEY,
    useSharedKey: true,
    ...options,
  });
  await expect(opening).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining(text),
    hint: expect.any(String),
  });
});
