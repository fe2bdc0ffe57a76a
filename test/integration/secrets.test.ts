import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AgentProcess } from '../../demo/agent-process.ts';
import { freePort } from '../../demo/free-port.ts';
import { Application } from '../../demo/application.ts';

jest.setTimeout(120_000);
const bundle = join(__dirname, '../../dist/lightningstream.cjs');
const SECRET = 'hush7dontTellAnybody7abcdefghijklmnopqrst';
/** As it may be written elsewhere: a part of a URL, base64. */
const FORMS = [SECRET, encodeURIComponent(SECRET), Buffer.from(SECRET).toString('base64')];

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'secrets-'));
  await mkdir(join(folder, 'lmdb'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const LMDBS = 'lmdbs: {main: {path: lmdb, schema_tracks_changes: true, options: {create: true}}}\n';

async function run(yaml: string, ...args: readonly string[]): Promise<string> {
  await writeFile(join(folder, 'c.yaml'), `${LMDBS}log: {level: trace}\n${yaml}`);
  return new Promise((resolve) => {
    const argv = [bundle, '--config', 'c.yaml', '--timeout', '3s', ...args];
    execFile(process.execPath, argv, { cwd: folder }, (_error, out, err) => resolve(out + err));
  });
}

const expectNoSecret = (text: string) => {
  for (const form of FORMS) {
    expect(text).not.toContain(form);
  }
};

const s3 = (endpoint: string) =>
  `storage: {type: s3, options: {bucket: b, access_key: AK${SECRET}, secret_key: ${SECRET}, endpoint_url: "${endpoint}"}}\n`;
const azure = (endpoint: string) =>
  `storage: {type: azure, options: {container: b, account_name: acc, account_key: ${Buffer.from(SECRET).toString('base64')}, use_shared_key: true, endpoint_url: "${endpoint}"}}\n`;
const azureSas = (endpoint: string) =>
  `storage: {type: azure, options: {container: b, account_name: acc, endpoint_url: "${endpoint}?sv=2022-11-02&sig=${SECRET}"}}\n`;
const STORAGES = [
  ['S3', s3],
  ['Azure with a key', azure],
  ['Azure with a SAS', azureSas],
] as const;

describe.each(STORAGES)('keys of %s are in no output', (_name, storage) => {
  test('where nothing answers', async () => {
    const endpoint = `http://127.0.0.1:${await freePort()}`;
    const shown = await run(
      `${storage(endpoint)}sweeper: {enabled: true}\n`,
      '--log-config',
      'snapshots',
      'list',
    );
    expect(shown).toContain('ECONNREFUSED');
    expectNoSecret(shown);
    const synced = await run(storage(endpoint), 'sync', '--only-once');
    expect(synced).toContain('ECONNREFUSED');
    expectNoSecret(synced);
  });

  test('where the server refuses them, and tells what it was sent', async () => {
    const server = createServer((request, response) => {
      request.resume();
      request.on('end', () => {
        response.writeHead(403, { 'content-type': 'application/xml' });
        response.end(`<Error><Code>AccessDenied</Code><Message>denied</Message></Error>`);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      const { port } = server.address() as AddressInfo;
      const text = await run(storage(`http://127.0.0.1:${port}`), 'snapshots', 'list');
      expect(text).toMatch(/^Error: /m);
      expectNoSecret(text);
    } finally {
      server.close();
    }
  });
});

test.each([
  ['a list', `secret_key: [${SECRET}]`],
  ['an unknown key beside it', `secret_key: ${SECRET}, acces_key: x`],
  ['one of two', `secret_key: ${SECRET}`],
])('a mistake in the configuration does not show the key: %s', async (_what, options) => {
  const text = await run(
    `storage: {type: s3, options: {bucket: b, ${options}}}\n`,
    'snapshots',
    'list',
  );
  expect(text).toMatch(/^Error: /m);
  expectNoSecret(text);
});

test('values of the application are in no log, metric or page', async () => {
  const file = join(folder, 'app.lmdb');
  using application = Application.open(file, { mapSizeBytes: 16 * 1024 ** 2 });
  application.write([{ key: 'zone', value: SECRET }]);
  const agent = await AgentProcess.start({
    name: 'a',
    folder,
    databases: { main: file },
    storage: `  type: fs\n  options: { root_path: ${join(folder, 'bucket')} }\n`,
    settings: 'log: {level: trace}\n',
  });
  try {
    await agent.ready();
    application.write([{ key: 'zone', value: `${SECRET}2` }]);
    const pages = ['/', '/metrics', '/healthz', '/storage'].map(async (path) => {
      const response = await fetch(`${agent.url}${path}`);
      return response.text();
    });
    for (const text of await Promise.all(pages)) {
      expectNoSecret(text);
    }
    expectNoSecret(await agent.log());
  } finally {
    await agent.stop();
  }
});
