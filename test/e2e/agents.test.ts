import { contents, eventually, Fleet } from '../support/hosts.ts';
import makeBundle from '../support/bundle-setup.cjs';
import { findMiniStack, startMiniStack, type MiniStack } from '../support/aws/ministack.ts';

jest.setTimeout(120_000);

const program = findMiniStack();
const describeWithServer = program === undefined ? describe.skip : describe;

describeWithServer('agents over S3', () => {
  let server: MiniStack;
  let fleet: Fleet;
  let storage: string;

  beforeAll(async () => {
    makeBundle();
    server = await startMiniStack(program as string);
  });
  afterAll(() => server.stop());
  beforeEach(async () => {
    fleet = await Fleet.open();
    storage = `  type: s3
  options:
    endpoint_url: ${server.endpoint}
    access_key: ${server.accessKey}
    secret_key: ${server.secretKey}
    bucket: agents
    create_bucket: true
    global_prefix: ${fleet.folder.split('/').at(-1)}-
`;
  });
  afterEach(() => fleet.close());

  test('writes of both hosts arrive, a host that joins gets all of them, and a restart goes on', async () => {
    const settings = 'storage_poll_interval: 100ms\n';
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

    expect(await agents[0].stop()).toBe(0);
    const again = await fleet.startAgent('a', { storage, settings });
    await again.ready();
    a.write([{ key: 'after', value: '3' }]);
    await eventually(() => b.read('after')?.value === '3', {
      what: 'a write after the restart',
      agents: [...agents, again],
    });
  });
});
