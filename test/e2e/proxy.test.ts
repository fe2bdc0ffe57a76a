import { randomUUID } from 'node:crypto';

import type { S3StoreOptions } from '../../storage/s3/options.ts';
import { openS3Store } from '../../storage/s3/store.ts';
import { contents, eventually, Fleet } from '../support/hosts.ts';
import makeBundle from '../support/bundle-setup.cjs';
import { startTestProxy, type TestProxy } from '../support/servers/http-proxy.ts';
import { findMiniStack, type MiniStack, startMiniStack } from '../support/aws/ministack.ts';
import { objectStoreConformance } from '../support/object-store-conformance.ts';

jest.setTimeout(120_000);

const program = findMiniStack();
const describeWithServer = program === undefined ? describe.skip : describe;
const CREDENTIALS = 'user:very-secret';

describeWithServer.each(['http', 'https'] as const)('S3 over %s through a proxy', (scheme) => {
  let server: MiniStack;
  let proxy: TestProxy;
  let options: S3StoreOptions;

  beforeAll(async () => {
    server = await startMiniStack(program as string, { tls: scheme === 'https' });
    proxy = await startTestProxy({ credentials: CREDENTIALS });
  });
  afterAll(async () => {
    await server?.stop();
    await proxy?.stop();
  });

  objectStoreConformance({
    open: async (hooks) => {
      const address = `http://${CREDENTIALS}@127.0.0.1:${proxy.port}`;
      options = {
        endpointUrl: `${scheme}://storage.test:${server.port}`,
        accessKey: server.accessKey,
        secretKey: server.secretKey,
        bucket: `bucket-${randomUUID()}`,
        createBucket: true,
        // The emulator's certificate has another name; proxies.test.ts checks that names count.
        tls: { insecureSkipVerify: true },
        proxies: { httpProxy: address, httpsProxy: address, noProxy: '' },
        ...hooks,
      };
      return openS3Store(options);
    },
    openSame: () => openS3Store({ ...options, onRequest: undefined }),
  });

  test('all of it went through the proxy', () => {
    const own = scheme === 'https' ? /^CONNECT storage\.test:/ : /^[A-Z]+ http:\/\/storage\.test:/;
    expect(proxy.asked.length).toBeGreaterThan(0);
    expect(proxy.asked.filter((line) => !own.test(line))).toEqual([]);
  });
});

describeWithServer('agents behind a proxy', () => {
  let server: MiniStack;
  let proxy: TestProxy;
  let fleet: Fleet;

  beforeAll(async () => {
    makeBundle();
    server = await startMiniStack(program as string, { tls: true });
    proxy = await startTestProxy({ credentials: CREDENTIALS });
    fleet = await Fleet.open();
  });
  afterAll(async () => {
    await fleet?.close();
    await server?.stop();
    await proxy?.stop();
  });

  test('find it in the environment, converge, and never show its password', async () => {
    const options = {
      endpoint_url: `https://storage.test:${server.port}`,
      access_key: server.accessKey,
      secret_key: server.secretKey,
      bucket: 'agents',
      create_bucket: true,
      tls: { insecure_skip_verify: true },
    };
    const storage = `  type: s3\n  options: ${JSON.stringify(options)}\n`;
    const settings = 'storage_poll_interval: 100ms\nlog: {level: trace}\n';
    const env = {
      HTTPS_PROXY: `http://${CREDENTIALS}@127.0.0.1:${proxy.port}`,
      NO_PROXY: 'other.test',
    };
    const verb = ['--log-config', 'sync'];
    const a = fleet.application('a');
    const b = fleet.application('b');
    const agents = [
      await fleet.startAgent('a', { storage, settings, env, verb }),
      await fleet.startAgent('b', { storage, settings, env, verb }),
    ];
    await Promise.all(agents.map((agent) => agent.ready()));
    a.write([{ key: 'k', value: '1' }]);
    await eventually(() => b.read('k')?.value === '1', { what: 'the write', agents });
    expect(contents(b)).toEqual({ k: '1' });
    expect(proxy.asked.every((line) => line === `CONNECT storage.test:${server.port}`)).toBe(true);
    expect(proxy.asked.length).toBeGreaterThanOrEqual(2);
    for (const agent of agents) {
      expect(await agent.log()).not.toContain('very-secret');
    }

    const stray = await fleet.startAgent('c', {
      storage,
      settings,
      env: { HTTPS_PROXY: 'socks5://user:very-secret@127.0.0.1:1' },
    });
    fleet.application('c');
    await eventually(() => stray.child.exitCode !== null, { what: 'its end', agents: [stray] });
    expect(stray.child.exitCode).toBe(1);
    expect(await stray.log()).toContain('HTTPS_PROXY names a proxy of the kind socks5');
    expect(await stray.log()).not.toContain('very-secret');
  });
});
