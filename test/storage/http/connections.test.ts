import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import type { Server, Socket } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleepFor } from 'node:timers/promises';
import { rootCertificates } from 'node:tls';

import { makeCertificate } from '../../../demo/certificate.ts';
import { openS3Store } from '../../../storage/s3/store.ts';
import { agentOptions, openHttpsAgent } from '../../../storage/http/connections.ts';

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

/** A client's certificate and its key, as texts. */
async function makePair(name: string) {
  const pairFolder = await mkdtemp(join(folder, 'pair-'));
  const { certFile, keyFile } = await makeCertificate(pairFolder, name);
  return { cert: await readFile(certFile, 'utf8'), key: await readFile(keyFile, 'utf8') };
}

test('watched files are loaded again, and half a rotation keeps what was loaded', async () => {
  const [first, second] = [await makePair('first'), await makePair('second')];
  const tls = {
    caFile: await write('ca.pem', first.cert),
    certFile: await write('cert.pem', first.cert),
    keyFile: await write('key.pem', first.key),
    watchCerts: true,
    watchCertsPollIntervalMs: 2,
  };
  const { agent, close } = await openHttpsAgent({ tls });
  // The new certificate is there, the new key is not: the old one is, and then none.
  await write('cert.pem', second.cert);
  await sleepFor(50);
  expect(agent.options).toMatchObject({ ca: [first.cert], ...first });
  await rm(tls.keyFile);
  await sleepFor(50);
  expect(agent.options).toMatchObject(first);
  await write('key.pem', second.key);
  while (agent.options.key !== second.key) {
    await sleepFor(2);
  }
  expect(agent.options).toMatchObject(second);
  close();
});

test('a certificate and the key of another one are refused', async () => {
  const [one, other] = [await makePair('one'), await makePair('other')];
  const tls = { cert: one.cert, key: other.key };
  await expect(openHttpsAgent({ tls })).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining('cannot be used together'),
  });
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
