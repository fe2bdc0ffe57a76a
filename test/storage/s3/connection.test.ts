import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { RequestListener } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type { ObjectStore } from '../../../storage/object-store.ts';
import type { RequestReport } from '../../../storage/requests.ts';
import { configuredCredentials } from '../../../storage/s3/credentials.ts';
import type { S3StoreOptions } from '../../../storage/s3/options.ts';
import { openS3Store } from '../../../storage/s3/store.ts';
import {
  type AnsweringServer,
  startAnsweringServer,
} from '../../support/servers/answering-server.ts';
import { freePort } from '../../../demo/free-port.ts';
import { bodyOf, readAll } from '../../support/object-store-conformance.ts';

const signal = new AbortController().signal;
let server: AnsweringServer | undefined;
let store: ObjectStore | undefined;
let reports: RequestReport[] = [];

/** A store whose server answers as `listener` says. */
async function openAgainst(
  listener: RequestListener,
  more: Partial<S3StoreOptions> = {},
): Promise<ObjectStore> {
  reports = [];
  server = await startAnsweringServer(listener);
  store = await openS3Store({
    bucket: 'bucket',
    endpointUrl: server.url,
    accessKey: 'AKIDEXAMPLE',
    secretKey: 'very-secret',
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

test('what goes over the wire suits servers that know only the basics', async () => {
  const opened = await openAgainst((_request, response) => {
    response.setHeader('ETag', '"e"').end();
  });
  await opened.create('a b', bodyOf('hello'), signal);
  const { method, url, headers } = server?.seen[0] ?? {};
  expect(method).toBe('PUT');
  // Path style, and nothing that only AWS understands.
  expect(url).toMatch(/^\/bucket\/a%20b(\?x-id=PutObject)?$/);
  expect(headers).toMatchObject({
    'if-none-match': '*',
    'content-length': '5',
    'content-md5': 'XUFAKrxLKna5cZ2REBfFkg==',
  });
  expect(Object.keys(headers ?? {}).filter((name) => name.includes('checksum'))).toEqual([]);
  expect(headers?.['content-encoding']).toBeUndefined();
  expect(reports).toMatchObject([{ kind: 'store' }]);
});

test('a download that the server cuts off is an error that may pass', async () => {
  const opened = await openAgainst((_request, response) => {
    response.writeHead(200, { etag: '"e"', 'content-length': '1000' });
    response.write('x'.repeat(100), () => response.destroy());
  });
  const object = await opened.get('a', { signal });
  expect(object?.sizeBytes).toBe(1000);
  await expect(readAll(object)).rejects.toMatchObject({ code: 'STORAGE_FAILED', retryable: true });
});

test('a download that stands still is ended', async () => {
  const opened = await openAgainst(
    (_request, response) => {
      response.writeHead(200, { etag: '"e"', 'content-length': '1000' });
      response.write('x'.repeat(100));
    },
    { stallTimeoutMs: 50 },
  );
  const object = await opened.get('a', { signal });
  await expect(readAll(object)).rejects.toMatchObject({ code: 'STORAGE_FAILED', retryable: true });
});

test('an operation that takes too long as a whole is ended', async () => {
  const opened = await openAgainst(() => undefined, { clientTimeoutMs: 50 });
  await expect(opened.get('a', { signal })).rejects.toMatchObject({
    code: 'STORAGE_FAILED',
    retryable: true,
    hint: expect.stringContaining('client_timeout'),
  });
});

test('a reader that stops early ends the connection', async () => {
  let closed: (() => void) | undefined;
  const ended = new Promise<void>((resolve) => (closed = resolve));
  const opened = await openAgainst((_request, response) => {
    response.once('close', () => closed?.());
    response.writeHead(200, { etag: '"e"', 'content-length': '100000000' });
    response.write('x'.repeat(1000));
  });
  for await (const chunk of (await opened.get('a', { signal }))?.body ?? []) {
    expect(chunk.byteLength).toBeGreaterThan(0);
    break;
  }
  await ended;
});

test('failures are reported by type', async () => {
  const answer = (status: number, code: string): RequestListener => {
    return (_request, response) => {
      response.writeHead(status, { 'content-type': 'application/xml' });
      response.end(`<Error><Code>${code}</Code><Message>m</Message></Error>`);
    };
  };
  const typeFor = async (listener: RequestListener) => {
    const opened = await openAgainst(listener);
    await opened.get('a', { signal }).catch(() => undefined);
    const type = reports.at(-1)?.error;
    await opened.close();
    await server?.stop();
    return type;
  };
  expect(await typeFor(answer(404, 'NoSuchKey'))).toBe('NotFound');
  expect(await typeFor(answer(403, 'AccessDenied'))).toBe('AccessDenied');
  expect(await typeFor((_request, response) => response.destroy())).toBe('URLError');
});

test('a server that is not there is told with its address', async () => {
  const port = await freePort();
  store = await openS3Store({
    bucket: 'bucket',
    endpointUrl: `http://127.0.0.1:${port}`,
    accessKey: 'k',
    secretKey: 's',
  });
  await expect(store.get('a', { signal })).rejects.toMatchObject({
    code: 'STORAGE_FAILED',
    retryable: true,
    message: expect.stringContaining(`127.0.0.1:${port}`),
    hint: expect.stringContaining('endpoint_url'),
  });
});

describe('key files', () => {
  let folder: string;
  let options: { accessKeyFile: string; secretKeyFile: string };
  let nowMs = 0;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'keys-'));
    options = {
      accessKeyFile: join(folder, 'access'),
      secretKeyFile: join(folder, 'secret'),
    };
    await write('KEY1\n', 'secret1\n');
  });
  afterEach(() => rm(folder, { recursive: true }));

  const write = async (access: string, secret: string) => {
    await writeFile(join(folder, 'access'), access);
    await writeFile(join(folder, 'secret'), secret);
  };
  const provider = () => {
    const given = configuredCredentials(options, () => nowMs);
    if (typeof given !== 'function') {
      throw new Error('no provider');
    }
    return given;
  };

  test('are read anew every interval, without the line end', async () => {
    nowMs = 1_000_000;
    const keys = provider();
    expect(await keys()).toMatchObject({ accessKeyId: 'KEY1', secretAccessKey: 'secret1' });
    await write('KEY2', 'secret2');
    nowMs += 14_999;
    expect(await keys()).toMatchObject({ accessKeyId: 'KEY1', secretAccessKey: 'secret1' });
    nowMs += 1;
    expect(await keys()).toMatchObject({ accessKeyId: 'KEY2', secretAccessKey: 'secret2' });
  });

  test('that are gone in the middle of a rotation leave the keys in use', async () => {
    nowMs = 1_000_000;
    const keys = provider();
    await keys();
    await rm(options.accessKeyFile);
    await writeFile(options.secretKeyFile, '');
    nowMs += 20_000;
    expect(await keys()).toMatchObject({ accessKeyId: 'KEY1', secretAccessKey: 'secret1' });
  });

  test('that cannot be read at start are told by path, never by content', async () => {
    await rm(options.accessKeyFile);
    await expect(provider()()).rejects.toMatchObject({
      code: 'STORAGE_DENIED',
      message: expect.stringContaining(options.accessKeyFile),
    });
  });

  test('are used for the requests that follow', async () => {
    const used: string[] = [];
    const opened = await openAgainst(
      (request, response) => {
        used.push(/Credential=(\w+)\//.exec(request.headers.authorization ?? '')?.[1] ?? '');
        response.setHeader('ETag', '"e"').end();
      },
      { ...options, accessKey: '', secretKey: '', secretsRefreshIntervalMs: 1000 },
    );
    await opened.put('a', bodyOf('x'), signal);
    await write('KEY2', 'secret2');
    while (used.at(-1) !== 'KEY2') {
      await opened.put('a', bodyOf('x'), signal);
    }
    expect(used[0]).toBe('KEY1');
  });
});

test('without keys the credential chain of the SDK is used', () => {
  expect(configuredCredentials({ accessKey: '', secretKey: '' })).toBeUndefined();
});
