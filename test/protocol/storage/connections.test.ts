import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import type { Server, Socket } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleepFor } from 'node:timers/promises';
import { rootCertificates } from 'node:tls';

import { openS3Store } from '../../../protocol/storage/s3.ts';
import { agentOptions, openHttpsAgent } from '../../../protocol/storage/connections.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tls-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const write = async (name: string, text: string) => {
  const path = join(folder, name);
  await writeFile(path, text);
  return path;
};

test('a CA replaces those of the system unless both are asked for', async () => {
  const caFile = await write('ca.pem', 'ONE');
  const alone = await openHttpsAgent({ tls: { caFile } });
  expect(alone.agent.options.ca).toEqual(['ONE']);
  const both = await openHttpsAgent({ tls: { ca: 'ONE', addSystemCaPool: true } });
  expect(both.agent.options.ca).toEqual([...rootCertificates, 'ONE']);
  const none = await openHttpsAgent({ tls: { ca: '', caFile: '' } });
  expect(none.agent.options).not.toHaveProperty('ca');
  expect(none.agent.options.rejectUnauthorized).toBe(true);
  for (const { close } of [alone, both, none]) {
    close();
  }
});

test('watched files are loaded again, and half a rotation keeps what was loaded', async () => {
  const tls = {
    caFile: await write('ca.pem', 'CA1'),
    certFile: await write('cert.pem', 'CERT1'),
    keyFile: await write('key.pem', 'KEY1'),
    watchCerts: true,
    watchCertsPollIntervalMs: 2,
  };
  const { agent, close } = await openHttpsAgent({ tls });
  await rm(tls.keyFile);
  await write('cert.pem', 'CERT2');
  await sleepFor(20);
  expect(agent.options).toMatchObject({ ca: ['CA1'], cert: 'CERT1', key: 'KEY1' });
  await write('key.pem', 'KEY2');
  while (agent.options.key !== 'KEY2') {
    await sleepFor(2);
  }
  expect(agent.options).toMatchObject({ cert: 'CERT2', key: 'KEY2' });
  close();
});

test('the key log file is made for its owner alone', async () => {
  const path = join(folder, 'keys.log');
  const { agent, close } = await openHttpsAgent({ tls: { insecureKeyLogFile: path } });
  agent.emit('keylog', Buffer.from('CLIENT_RANDOM x y\n'));
  while ((await readFile(path, 'utf8')) === '') {
    await sleepFor(1);
  }
  expect(await readFile(path, 'utf8')).toBe('CLIENT_RANDOM x y\n');
  close();
});

test('connection limits reach the agent; no limit of idle connections is written as 0', () => {
  expect(agentOptions({ dialKeepAliveMs: 1, idleConnTimeoutMs: 2, maxIdleConns: 3 })).toMatchObject(
    { keepAlive: true, keepAliveMsecs: 1, timeout: 2, maxFreeSockets: 3 },
  );
  expect(agentOptions({ maxIdleConns: 0 }).maxFreeSockets).toBe(Infinity);
});

test('a server that never answers the TLS handshake is given up', async () => {
  const sockets: Socket[] = [];
  const server: Server = createServer((socket) => sockets.push(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  const store = await openS3Store({
    bucket: 'bucket',
    endpointUrl: `https://127.0.0.1:${port}`,
    accessKey: 'k',
    secretKey: 's',
    tlsHandshakeTimeoutMs: 20,
  });
  await expect(store.get('a', { signal: new AbortController().signal })).rejects.toMatchObject({
    code: 'STORAGE_FAILED',
    retryable: true,
    hint: expect.stringContaining('network'),
  });
  await store.close();
  for (const socket of sockets) {
    socket.destroy();
  }
  await new Promise((resolve) => server.close(resolve));
});
