import { createHash } from 'node:crypto';
import { request, type RequestOptions } from 'node:http';
import { Script } from 'node:vm';
import { createLogger } from '../../../agent/log/log.ts';
import { Healthz } from '../../../agent/status/healthz.ts';
import { Metrics } from '../../../agent/monitor/metrics.ts';
import { statusJson } from '../../../agent/status/status-json.ts';
import { StatusServer } from '../../../agent/status/server.ts';
import { MemoryObjectStore } from '../../../storage/memory.ts';
import { bytesBody } from '../../../storage/bodies.ts';
import type { ObjectStore } from '../../../storage/object-store.ts';
import { SyncError } from '../../../protocol/errors.ts';
import { databaseStatus, EVIL_NAME, NOW_MS, statusSource } from '../../support/status.ts';

const log = createLogger(
  { level: 'fatal', format: 'json', timestamp: 'full' },
  { stream: { write: () => true } },
);

async function serve(store: ObjectStore = new MemoryObjectStore(), address = '127.0.0.1:0') {
  const status = statusSource(
    databaseStatus({
      instances: [{ instance: EVIL_NAME, newestMs: 0, mergedMs: undefined, lagMs: 9 }],
    }),
  );
  const now = () => NOW_MS;
  const server = new StatusServer({
    address,
    status,
    healthz: new Healthz({
      status,
      health: [],
      hostname: 'h',
      errorAfterMs: 1,
      reportStartup: true,
      now,
    }),
    metrics: new Metrics({ status, storageType: 'memory', processMetrics: false }),
    store,
    log,
    now,
  });
  const port = await server.listen();
  return { server, port };
}

type Reply = { status: number; headers: Record<string, unknown>; text: string };

function fetchPath(port: number, path: string, options: RequestOptions = {}): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const sent = request({ port, host: '127.0.0.1', path, ...options }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.on('end', () => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text });
      });
    });
    sent.on('error', reject).end();
  });
}

async function get(path: string, method = 'GET', store?: ObjectStore): Promise<Reply> {
  const { server, port } = await serve(store);
  try {
    return await fetchPath(port, path, { method });
  } finally {
    await server[Symbol.asyncDispose]();
  }
}

test.each([
  ['/', 200, /^text\/html/],
  ['/?x=1', 200, /^text\/html/],
  ['/status.json', 200, /^application\/json/],
  ['/status-view.json', 200, /^application\/json/],
  ['/healthz', 200, /^application\/json/],
  ['/metrics', 200, /^text\/plain; version=0\.0\.4/],
  ['/storage', 200, /^text\/plain/],
  ['/nope', 404, /^text\/plain/],
  ['/debug/pprof/', 404, /^text\/plain/],
  ['/debug/pprof/profile?seconds=1', 404, /^text\/plain/],
  ['//', 404, /^text\/plain/],
  ['/../etc/passwd', 404, /^text\/plain/],
])('%s answers %i', async (path, status, type) => {
  const reply = await get(path);
  expect(reply.status).toBe(status);
  expect(reply.headers['content-type']).toMatch(type);
});

test.each(['POST', 'PUT', 'DELETE', 'OPTIONS'])('%s is refused', async (method) => {
  const reply = await get('/healthz', method);
  expect(reply.status).toBe(405);
  expect(reply.headers['allow']).toBe('GET, HEAD');
});

test.each([
  ['cross-site', 'no-cors', 403],
  ['cross-site', 'navigate', 200],
  ['same-origin', 'cors', 200],
  ['none', 'navigate', 200],
])('asked from a page %s, to %s: %i', async (site, mode, status) => {
  const { server, port } = await serve();
  const headers = { 'sec-fetch-site': site, 'sec-fetch-mode': mode };
  const reply = await fetchPath(port, '/storage', { headers });
  expect(reply.status).toBe(status);
  await server[Symbol.asyncDispose]();
});

test('HEAD has the headers only', async () => {
  const reply = await get('/healthz', 'HEAD');
  expect(reply.status).toBe(200);
  expect(reply.text).toBe('');
  expect(Number(reply.headers['content-length'])).toBeGreaterThan(100);
});

test('the status has everything of the page and the metrics', async () => {
  const status = JSON.parse((await get('/status.json')).text) as Record<string, unknown>;
  expect(status).toMatchObject({
    instance: 'a',
    version: '1.2.3',
    uptime_seconds: 60,
    requests: { list: 4 },
    failed_requests: { list: 1 },
    notices: { source: 'poll', trouble: null },
    databases: [
      {
        name: 'main',
        used: 65_536,
        map_size: 1_048_576,
        last_txn_id: 42,
        readers: 2,
        max_readers: 126,
        pending: { keys: 3, bytes: 120, scan: false },
        last_merge: { lockHeldMs: 0.5 },
        recent: [{ direction: 'merge', instance: 'b', entries: 5, changed: 1, size: 400 }],
        rejoin: null,
        dbis: [{ name: 'records_v5', used: 65_536, entries: 1000, flags: '' }],
      },
    ],
  });
});

test('where requests cost money, the status says how much, and what listing in a loop would', () => {
  const source = { ...statusSource(databaseStatus()), billedPollIntervalMs: 1000 };
  expect(statusJson(source, source.startedMs + 60_000).cost).toBeNull();
  expect(statusJson(source, source.startedMs + 3_600_000).cost).toEqual({
    dollars_per_month: expect.closeTo(0.0146, 4),
    dollars_per_month_listing: expect.closeTo(13.149, 3),
    poll_interval_ms: 1000,
    prices: expect.stringContaining('us-east-1'),
  });
  expect(statusJson(statusSource(), NOW_MS).cost).toBeNull();
});

test('names from others are text in the HTML, and nothing of the script makes HTML of them', async () => {
  const { text } = await get('/');
  expect(text).not.toContain(EVIL_NAME);
  expect(text).toContain(
    EVIL_NAME.replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;'),
  );
  expect(text).not.toMatch(/innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(/);
  expect(text).not.toMatch(/(src|href)="https?:/);
});

test('the policy names exactly the script and the style of the page, and nothing from elsewhere', async () => {
  const { text, headers } = await get('/');
  const policy = String(headers['content-security-policy']);
  for (const [, kind, content = ''] of text.matchAll(/<(script|style)>([^]*?)<\/\1>/g)) {
    const hash = createHash('sha256').update(content).digest('base64');
    expect(policy).toContain(`${kind}-src 'sha256-${hash}'`);
  }
  expect(policy).toContain("default-src 'none'");
  expect(policy).not.toMatch(/unsafe|https?:|\*/);
});

test.each(['/status.json', '/healthz', '/metrics', '/storage', '/nope'])(
  'what %s answers may do nothing in a browser',
  async (path) => {
    const { headers } = await get(path);
    expect(headers['content-security-policy']).toBe("default-src 'none'; frame-ancestors 'none'");
    expect(headers['x-content-type-options']).toBe('nosniff');
  },
);

test('/storage lists everything, whichever database it belongs to', async () => {
  const store = new MemoryObjectStore();
  const { signal } = new AbortController();
  await store.put('shard__b__x', bytesBody(Buffer.from('123')), signal);
  await store.put('main__a__x', bytesBody(Buffer.from('1')), signal);
  expect((await get('/storage', 'GET', store)).text).toBe(
    'Name\tSize\nmain__a__x\t1\nshard__b__x\t3\n',
  );
});

test('/storage says why it cannot list', async () => {
  const store = new MemoryObjectStore();
  store.list = () => {
    throw new SyncError('STORAGE_DENIED', 'no such bucket');
  };
  const reply = await get('/storage', 'GET', store);
  expect(reply.status).toBe(500);
  expect(reply.text).toBe('cannot list the storage: no such bucket\n');
});

test('an address without a host is all addresses', async () => {
  const { server, port } = await serve(new MemoryObjectStore(), ':0');
  expect((await fetchPath(port, '/healthz')).status).toBe(200);
  await server[Symbol.asyncDispose]();
});

test('a port in use is an error that says what to do', async () => {
  const { server, port } = await serve();
  await expect(serve(new MemoryObjectStore(), `127.0.0.1:${port}`)).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining(`cannot listen on 127.0.0.1:${port}`) as string,
    hint: expect.stringContaining('free port') as string,
  });
  await server[Symbol.asyncDispose]();
});

test('the script of the page is a script', async () => {
  const { text } = await get('/');
  const script = /<script>([\s\S]*)<\/script>/.exec(text)?.[1] ?? '';
  // Compiled, not run: test/e2e/status-page.test.ts has a browser.
  expect(() => new Script(script)).not.toThrow();
  expect(script).toContain("fetch('status-view.json'");
});
