import { parseConfig, requireStorageOptions, type Config } from '../../../agent/config/config.ts';
import { formatEffectiveConfig } from '../../../agent/config/effective.ts';

const MINIMAL = 'lmdbs: {main: {path: /db}}\n';

function parse(text: string) {
  return parseConfig(text, { fileName: 'ls.yaml', processEnv: {}, hostname: 'h' });
}

function storageOf(yaml: string): Config['storage'] {
  return parse(`${MINIMAL}storage:\n  ${yaml.replaceAll('\n', '\n  ')}\n`).config.storage;
}

describe('storage', () => {
  test.each([
    ['type: fs\noptions: {root_path: /s}', { type: 'fs', rootPath: '/s' }],
    ['type: memory\noptions: {anything: goes}', { type: 'memory' }],
    ['type: fs\nroot_path: /old', { type: 'fs', rootPath: '/old' }],
  ])('%j', (yaml, expected) => {
    expect(requireStorageOptions(storageOf(yaml))).toEqual(expected);
  });

  test("s3 defaults are upstream's", () => {
    expect(requireStorageOptions(storageOf('type: s3\noptions: {bucket: b}'))).toMatchObject({
      accessKey: '',
      secretsRefreshIntervalMs: 15_000,
      createBucket: false,
      globalPrefix: '',
      prefixFolders: false,
      hideFolders: false,
      endpointUrl: 'https://s3.amazonaws.com',
      disableSendContentMd5: false,
      numMinioThreads: 0,
      initTimeoutMs: 20_000,
      idleConnTimeoutMs: 90_000,
      maxIdleConns: 100,
      dialTimeoutMs: 10_000,
      dialKeepAliveMs: 10_000,
      tlsHandshakeTimeoutMs: 10_000,
      clientTimeoutMs: 900_000,
      useUpdateMarker: false,
      updateMarkerForceListIntervalMs: 300_000,
      tls: { watchCertsPollIntervalMs: 5000, insecureSkipVerify: false },
    });
  });

  test.each([
    ['{}', '`storage.type` is missing'],
    ['type: fs', '`storage.options.root_path` is missing'],
    ['type: fs\noptions: {root_pat: /s}', 'unknown key `root_pat` in `storage.options`'],
    ['type: s3\noptions: {}', '`storage.options.bucket` is missing'],
    ['type: s3\noptions: {bucket: b, access_key: k}', 'only one of `access_key` and `secret_key`'],
    ['type: s3\noptions: {bucket: b, access_key_file: k}', 'only one of `access_key_file`'],
    ['type: s3\noptions: {bucket: b, endpoint_url: minio}', 'must begin with http:// or https://'],
    [
      'type: s3\noptions: {bucket: b, access_key_file: a, secret_key_file: s, secrets_refresh_interval: 1ms}',
      'must be 1s or more',
    ],
    [
      'type: s3\noptions: {bucket: b, tls: {cafile: x}}',
      'unknown key `cafile` in `storage.options.tls`',
    ],
    ['type: azure\noptions: {container: c}', '`storage.options.account_name` is missing'],
    ['type: azure\noptions: {account_name: a}', '`storage.options.container` is missing'],
    [
      'type: azure\noptions: {container: c, endpoint_url: "https://a.example", use_shared_key: true, account_key: k}',
      '`storage.options.account_name` is missing',
    ],
    [
      'type: azure\noptions: {container: c, account_name: a, use_shared_key: true}',
      'no `account_key` or `account_key_file`',
    ],
    [
      'type: azure\noptions: {container: c, endpoint_url: azure}',
      'must begin with http:// or https',
    ],
    [
      'type: azure\noptions: {container: c, account_name: a, account_key_file: f, secrets_refresh_interval: 1ms}',
      'must be 1s or more',
    ],
    [
      'type: azure\noptions: {container: c, account_name: a, disable_send_content_md5: true}',
      'unknown key `disable_send_content_md5`',
    ],
  ])('refused only when it is used: %j', (yaml, message) => {
    const storage = storageOf(yaml);
    expect(() => requireStorageOptions(storage)).toThrow(message);
  });
});

test("azure defaults are upstream's", () => {
  const storage = storageOf('type: azure\noptions: {container: c, account_name: a}');
  expect(requireStorageOptions(storage)).toMatchObject({
    type: 'azure',
    container: 'c',
    accountName: 'a',
    accountKey: '',
    secretsRefreshIntervalMs: 15_000,
    useSharedKey: false,
    createContainer: false,
    endpointUrl: '',
    globalPrefix: '',
    concurrency: 0,
    initTimeoutMs: 20_000,
    clientTimeoutMs: 900_000,
    useUpdateMarker: false,
  });
});

describe('effective configuration', () => {
  const text = `${MINIMAL}instance: yes
storage:
  type: s3
  options: {bucket: b, access_key: AKIA, secret_key: hidden, tls: {key: PEM}}
`;
  test('masks secrets', () => {
    const shown = formatEffectiveConfig(parse(text).config);
    expect(shown).not.toMatch(/AKIA|hidden|PEM/);
    expect(shown).toContain("secret_key: '***'");
    const azure = formatEffectiveConfig(
      parse(`${MINIMAL}storage:
  type: azure
  options: {container: c, endpoint_url: "https://a.example/x?sv=1&sig=hidden", account_key: AKEY}
`).config,
    );
    expect(azure).not.toMatch(/AKEY|hidden/);
    expect(azure).toContain('https://a.example/x?***');
    expect(azure).toContain("account_key: '***'");
  });

  test('reads back as the same configuration', () => {
    const withoutSecrets = text.replace(
      /access_key.*hidden, tls: \{key: PEM\}/,
      'region: eu-west-1',
    );
    const { config } = parse(withoutSecrets);
    expect(parse(formatEffectiveConfig(config)).config).toEqual(config);
  });
});
