import { randomUUID } from 'node:crypto';

import type { AzureStoreOptions } from '../../storage/azure/options.ts';
import { openAzureStore } from '../../storage/azure/store.ts';
import type { ObjectStore } from '../../storage/object-store.ts';
import { contents, eventually, Fleet } from '../support/hosts.ts';
import { type Azurite, findAzurite, startAzurite } from '../support/servers/azurite.ts';
import makeBundle from '../support/bundle-setup.cjs';
import { freePort } from '../../demo/free-port.ts';
import { type ManagedIdentity, startManagedIdentity } from '../support/servers/managed-identity.ts';
import {
  bodyOf,
  chunkedBody,
  listAll,
  objectStoreConformance,
  readAll,
} from '../support/object-store-conformance.ts';

jest.setTimeout(120_000);

const signal = new AbortController().signal;
let plain: Azurite;
let tls: Azurite;
let identity: ManagedIdentity;

beforeAll(async () => {
  const program = findAzurite();
  [plain, tls, identity] = await Promise.all([
    startAzurite(program),
    startAzurite(program, { tls: true }),
    startManagedIdentity(),
  ]);
  Object.assign(process.env, identity.env);
}, 300_000);

afterAll(async () => {
  for (const name of Object.keys(identity?.env ?? {})) {
    delete process.env[name];
  }
  await Promise.all([plain?.stop(), tls?.stop(), identity?.stop()]);
});

/** A container that is not there yet, and is made. */
function fresh(kind: 'account key' | 'managed identity'): AzureStoreOptions {
  const container = `container-${randomUUID()}`;
  const { accountName, accountKey, endpoint, caFile } = kind === 'account key' ? plain : tls;
  const common = { container, createContainer: true, endpointUrl: endpoint };
  return kind === 'account key'
    ? { ...common, accountName, accountKey, useSharedKey: true }
    : { ...common, tls: { caFile } };
}

describe.each(['account key', 'managed identity'] as const)('Azure store (%s)', (kind) => {
  let options: AzureStoreOptions;
  objectStoreConformance({
    open: async (hooks) => {
      options = { ...fresh(kind), globalPrefix: 'some/prefix-', ...hooks };
      return openAzureStore(options);
    },
    openSame: () => openAzureStore({ ...options, onRequest: undefined }),
  });
});

describe('Azure store against a server', () => {
  const open: ObjectStore[] = [];
  const openStore = async (options: AzureStoreOptions) => {
    const store = await openAzureStore(options);
    open.push(store);
    return store;
  };
  afterEach(async () => {
    await Promise.all(open.splice(0).map((store) => store.close()));
  });

  test('the credential chain of the SDK was asked for a token', () => {
    expect(identity.tokens()).toBeGreaterThan(0);
  });

  test('lists more than one page, and from a name', async () => {
    const requests: string[] = [];
    const store = await openStore({
      ...fresh('account key'),
      listPageNames: 10,
      onRequest: ({ kind }) => requests.push(kind),
    });
    const names = Array.from({ length: 35 }, (_, i) => `n-${String(i).padStart(5, '0')}`);
    await Promise.all(names.map((name) => store.create(name, bodyOf('x'), signal)));
    requests.length = 0;
    expect((await listAll(store, 'n-')).map(({ name }) => name)).toEqual(names);
    expect(requests).toEqual(['list', 'list', 'list', 'list']);
    // The names before it are paid for too.
    expect((await listAll(store, 'n-', 'n-00017')).map(({ name }) => name)).toEqual(
      names.slice(18),
    );
    expect(requests).toHaveLength(8);
  });

  test('the global prefix is put before names as it is, and others are not seen', async () => {
    const options = { ...fresh('account key'), globalPrefix: 'fleet-a' };
    const inside = await openStore(options);
    const whole = await openStore({ ...options, globalPrefix: '' });
    await inside.create('x', bodyOf('1'), signal);
    await whole.create('other', bodyOf('2'), signal);
    expect((await listAll(whole, '')).map(({ name }) => name)).toEqual(['fleet-ax', 'other']);
    expect((await listAll(inside, '')).map(({ name }) => name)).toEqual(['x']);
  });

  test('a container is made once, by whoever comes first', async () => {
    const options = fresh('account key');
    await Promise.all([openStore(options), openStore(options), openStore(options)]);
    const store = await openStore({ ...options, createContainer: false });
    expect(await listAll(store, '')).toEqual([]);
  });

  test('an upload with more blocks at once arrives whole', async () => {
    const store = await openStore({ ...fresh('account key'), concurrency: 4 });
    const bytes = Buffer.alloc(33_000_001, 'abcdefg');
    expect(await store.create('big', chunkedBody(bytes, 1_000_003), signal)).toBe('stored');
    expect((await readAll(await store.get('big', { signal }))).equals(bytes)).toBe(true);
  });

  test('a missing container is told with what to do', async () => {
    const store = await openStore({ ...fresh('account key'), createContainer: false });
    const missing = {
      code: 'STORAGE_DENIED',
      retryable: false,
      message: expect.stringMatching(/no such container \(ContainerNotFound, HTTP 404/),
      hint: expect.stringContaining('create_container'),
    };
    await expect(listAll(store, '')).rejects.toMatchObject(missing);
    await expect(store.get('a', { signal })).rejects.toMatchObject(missing);
    await expect(store.create('a', bodyOf('x'), signal)).rejects.toMatchObject(missing);
    await expect(store.delete('a', signal)).rejects.toMatchObject(missing);
  });

  test('a wrong key is told in one line, without the key', async () => {
    const options = fresh('account key');
    await openStore(options);
    const wrong = Buffer.alloc(64, 7).toString('base64');
    const store = await openStore({ ...options, accountKey: wrong, createContainer: false });
    const error: unknown = await store.get('a', { signal }).catch((e: unknown) => e);
    expect(error).toMatchObject({
      code: 'STORAGE_DENIED',
      retryable: false,
      message: expect.stringContaining('the credentials are refused'),
      hint: expect.stringContaining('account_key'),
    });
    expect(String(error)).not.toContain('\n');
    expect(JSON.stringify(error, Object.getOwnPropertyNames(error))).not.toContain(wrong);
  });

  test('a server whose certificate is not trusted is refused with a hint', async () => {
    const store = await openStore({
      ...fresh('managed identity'),
      createContainer: false,
      tls: {},
    });
    await expect(store.get('a', { signal })).rejects.toMatchObject({
      code: 'STORAGE_DENIED',
      hint: expect.stringContaining('tls.ca_file'),
    });
  });
});

describe('agents over Azure', () => {
  let fleet: Fleet;

  beforeAll(() => makeBundle());
  beforeEach(async () => {
    fleet = await Fleet.open();
  });
  afterEach(() => fleet.close());

  const storageOf = (kind: 'account key' | 'managed identity', more: object = {}) => {
    const { container, endpointUrl, accountName, accountKey, tls: certificates } = fresh(kind);
    const options = {
      container,
      create_container: true,
      endpoint_url: endpointUrl,
      ...(kind === 'account key'
        ? { account_name: accountName, account_key: accountKey, use_shared_key: true }
        : { tls: { ca_file: certificates?.caFile } }),
      ...more,
    };
    // JSON is YAML.
    return `  type: azure\n  options: ${JSON.stringify(options)}\n`;
  };

  test.each(['account key', 'managed identity'] as const)(
    'writes of both hosts arrive, and a host that joins gets all of them (%s)',
    async (kind) => {
      const settings = 'storage_poll_interval: 100ms\n';
      const storage = storageOf(kind, { global_prefix: 'dns/' });
      const a = fleet.application('a');
      const b = fleet.application('b');
      const agents = [
        await fleet.startAgent('a', { storage, settings }),
        await fleet.startAgent('b', { storage, settings }),
      ] as const;
      await Promise.all(agents.map((agent) => agent.ready()));
      a.write([{ key: 'from a', value: '1' }]);
      b.write([{ key: 'from b', value: '2' }]);
      await eventually(() => a.count() === 2 && b.count() === 2, { what: 'both writes', agents });
      b.write([{ key: 'from a', value: undefined }]);
      await eventually(() => a.read('from a')?.deleted === true, { what: 'the delete', agents });
      const c = fleet.application('c');
      const joining = await fleet.startAgent('c', { storage, settings });
      await eventually(() => c.read('from a')?.deleted === true && c.read('from b') !== undefined, {
        what: 'all in c',
        agents: [...agents, joining],
      });
      expect(contents(c)).toEqual({ 'from a': null, 'from b': '2' });
      const metrics = await (await fetch(`${agents[0].url}/metrics`)).text();
      expect(metrics).toMatch(/^storage_azure_call_total\{method="store"\} [1-9]/m);
      expect(metrics).toMatch(/^storage_azure_call_total\{method="create-container"\} [1-9]/m);
    },
  );

  test('agents that keep the update marker converge', async () => {
    const settings = 'storage_poll_interval: 100ms\n';
    const storage = storageOf('account key', { use_update_marker: true });
    const a = fleet.application('a');
    const b = fleet.application('b');
    const agents = [
      await fleet.startAgent('a', { storage, settings }),
      await fleet.startAgent('b', { storage, settings }),
    ];
    await Promise.all(agents.map((agent) => agent.ready()));
    a.write([{ key: 'k', value: '1' }]);
    await eventually(() => b.read('k')?.value === '1', { what: 'the write', agents });
    const metrics = await (await fetch(`${agents[1]?.url}/metrics`)).text();
    const calls = (method: string) =>
      Number(
        new RegExp(`^storage_azure_call_total\\{method="${method}"\\} (\\d+)`, 'm').exec(
          metrics,
        )?.[1],
      );
    // It is the marker that is asked for at each interval, and the listing follows its change.
    await eventually(() => calls('list') >= 2 && calls('load') >= 2, { what: 'requests', agents });
    expect(contents(b)).toEqual({ k: '1' });
  });

  test.each([
    ['a wrong key', { account_key: Buffer.alloc(64, 7).toString('base64') }, 'are refused'],
    ['no container', { create_container: false }, 'no such container'],
  ])('%s: one line of the log says what to do', async (_what, more, text) => {
    fleet.application('a');
    const agent = await fleet.startAgent('a', { storage: storageOf('account key', more) });
    await eventually(async () => (await agent.log()).includes(text), {
      what: text,
      agents: [agent],
    });
    expect(await agent.log()).not.toContain(Buffer.alloc(64, 7).toString('base64'));
  });

  test('an account that cannot be reached is told with its address, and tried again', async () => {
    const endpoint = `http://127.0.0.1:${await freePort()}/testaccount`;
    fleet.application('a');
    const agent = await fleet.startAgent('a', {
      storage: storageOf('account key', { endpoint_url: endpoint, create_container: false }),
    });
    await eventually(async () => (await agent.log()).includes('nothing listens there'), {
      what: 'its line',
      agents: [agent],
    });
    expect(await agent.log()).toContain(new URL(endpoint).host);
    expect(agent.child.exitCode).toBeNull();
  });
});
