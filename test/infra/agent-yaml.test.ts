import { agentYaml } from '../../infra/agent-yaml.ts';
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
