import { agentYaml } from '../../infra/agent-yaml.ts';
import { parse } from 'yaml';
import { accessOutputName, agentConfig } from '../../infra/agent-outputs.ts';
import { parseSyncConfig } from '../../infra/config.ts';
import { parseConfig } from '../../agent/config/config.ts';

test('an agent reads the configuration that the stack gives it, without a warning', () => {
  const text = agentYaml({
    instance: 'ns1',
    databases: ['main', 'shard'],
    bucketName: 'lightningstream-prod-1-eu-west-1',
    region: 'eu-west-1',
    objectPrefix: 'dns/',
    queuePrefix: 'lightningstream-prod-notices-',
    directQueueUrl: 'https://sqs.eu-west-1.amazonaws.com/1/ingest',
  });
  const { config, warnings } = parseConfig(text, {
    fileName: 'ns1.yaml',
    processEnv: {},
    hostname: 'host',
  });
  expect(warnings).toEqual([]);
  expect(config.instance).toBe('ns1');
  expect([...config.lmdbs.keys()]).toEqual(['main', 'shard']);
  expect(config.lmdbs.get('main')).toMatchObject({
    path: '/var/lib/powerdns/pdns.lmdb',
    schemaTracksChanges: true,
    options: { noSubdir: true, create: true, mapSizeBytes: 1000 * 1024 ** 2 },
  });
  // PowerDNS makes the file of its shard with the first zone: until then the agent has to.
  expect(config.lmdbs.get('shard')).toMatchObject({
    path: '/var/lib/powerdns/pdns.lmdb-0',
    options: { create: true },
  });
  expect(config.storage.options).toMatchObject({
    bucket: 'lightningstream-prod-1-eu-west-1',
    region: 'eu-west-1',
    globalPrefix: 'dns/',
  });
  expect(config).toMatchObject({
    notices: {
      type: 'sqs',
      queuePrefix: 'lightningstream-prod-notices-',
      directQueueUrl: 'https://sqs.eu-west-1.amazonaws.com/1/ingest',
    },
  });
});

describe('the configuration of an agent, from the outputs of the stack', () => {
  const outputs = {
    BucketName: 'b',
    Region: 'eu-west-1',
    QueuePrefix: 'lightningstream-prod-notices-',
    Policyns1: 'arn:aws:iam::1:policy/ns1',
  };

  test('names what gives the host its rights', () => {
    const config = parseSyncConfig({ agents: ['ns1'] });
    const text = agentConfig('ns1', { config, outputs });
    expect(text).toMatch(/^# Rights of this host: arn:aws:iam::1:policy\/ns1\n/);
    expect(text).not.toContain('create_queue');
  });

  test('of a fleet without names makes the agent make its queue', () => {
    const config = parseSyncConfig({ agents: [] });
    const text = agentConfig('host-7', { config, outputs });
    expect(parse(text)).toMatchObject({ instance: 'host-7', notices: { create_queue: true } });
  });

  test('refuses an agent that the stack does not have, and outputs that are of something else', () => {
    const config = parseSyncConfig({ agents: ['ns1'] });
    expect(() => agentConfig('ns2', { config, outputs })).toThrow('it has ns1');
    expect(() => agentConfig('ns1', { config, outputs: {} })).toThrow('no Policyns1');
  });

  test('tells agents apart whose names differ only by "-"', () => {
    const names = ['a-xbc', 'ax-bc', 'axbc', 'axb-c'].map((agent) =>
      accessOutputName('Policy', agent),
    );
    expect(new Set(names).size).toBe(names.length);
    expect(names.every((name) => /^[A-Za-z0-9]+$/.test(name))).toBe(true);
  });
});
