import type { RequestListener } from 'node:http';
import type { AgentProcess } from '../../demo/agent-process.ts';
import { freePort } from '../../demo/free-port.ts';
import { eventually, Fleet } from '../support/hosts.ts';
import { startAnsweringServer, type AnsweringServer } from '../support/servers/answering-server.ts';

jest.setTimeout(60_000);

/** Failing for this long is a failure, so that the test need not wait for five minutes. */
const HEALTH = `health:
  storage_list: {warn_duration: 500ms, error_duration: 1s}
  storage_load: {warn_duration: 500ms, error_duration: 1s}
  storage_store: {warn_duration: 500ms, error_duration: 1s}
`;

let fleet: Fleet;
let server: AnsweringServer | undefined;
beforeEach(async () => {
  fleet = await Fleet.open();
});
afterEach(async () => {
  await fleet.close();
  await server?.stop();
  server = undefined;
});

function s3Storage(url: string): string {
  return [
    '  type: s3',
    '  options:',
    '    access_key: test-key',
    '    secret_key: test-secret',
    '    bucket: no-such-bucket',
    '    region: us-east-1',
    `    endpoint_url: ${url}`,
    '',
  ].join('\n');
}

/** Answers every request with this error of S3. */
function s3Error(statusCode: number, code: string): RequestListener {
  return (_request, response) => {
    response.writeHead(statusCode, { 'content-type': 'application/xml' });
    response.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>no</Message></Error>`);
  };
}

async function answer(agent: AgentProcess, path: string): Promise<{ code: number; text: string }> {
  try {
    const response = await fetch(`${agent.url}${path}`);
    return { code: response.status, text: await response.text() };
  } catch {
    // Not listening yet.
    return { code: 0, text: '' };
  }
}

test.each<[string, () => Promise<string>, RegExp]>([
  [
    'a dead endpoint',
    async () => `http://127.0.0.1:${await freePort()}`,
    /nothing listens there|ECONNREFUSED/,
  ],
  [
    'a missing bucket',
    async () => {
      server = await startAnsweringServer(s3Error(404, 'NoSuchBucket'));
      return server.url;
    },
    /no-such-bucket|NoSuchBucket/,
  ],
  [
    'a denied key',
    async () => {
      server = await startAnsweringServer(s3Error(403, 'InvalidAccessKeyId'));
      return server.url;
    },
    /denied|InvalidAccessKeyId/i,
  ],
])('%s at start: /healthz and /readyz are 503 with the reason', async (_what, open, reason) => {
  const agent = await fleet.startAgent('a', {
    storage: s3Storage(await open()),
    settings: HEALTH,
  });
  await eventually(async () => (await answer(agent, '/healthz')).code === 503, {
    what: '503 on /healthz',
    agents: [agent],
    timeoutMs: 30_000,
  });
  const { text } = await answer(agent, '/healthz');
  const { failures } = JSON.parse(text) as { failures: Record<string, string> };
  expect(Object.values(failures).join('\n')).toMatch(reason);
  expect(await answer(agent, '/readyz')).toMatchObject({ code: 503 });
  expect(await answer(agent, '/livez')).toMatchObject({ code: 200 });
  const metrics = await agent.metrics();
  expect(metrics.get('lightningstream_step_failures_total')).toBeGreaterThan(0);
  const page = (await answer(agent, '/')).text;
  expect(page).not.toMatch(/in step|All is well/);
  // Once, and not for every try; with what to do about it.
  const lines = (await agent.log()).split('\n').filter((line) => line.includes('trying again'));
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatch(/hint=/);
});
