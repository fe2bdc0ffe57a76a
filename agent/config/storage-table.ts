import { section, type Values } from './fields.ts';
import { count, duration, flag, text, urlWithSecretQuery } from './value-types.ts';

const SECOND = 1000;
const MINUTE = 60 * SECOND;

const tls = section('tls', 'TLS of the connection to the storage.', {
  caFile: text('ca_file', { help: 'PEM file with CAs; replaces those of the system.' }),
  ca: text('ca', { help: 'The same, inline.' }),
  addSystemCaPool: flag('add_system_ca_pool', {
    default: false,
    help: 'Trust the CAs of the system too.',
  }),
  certFile: text('cert_file', { help: 'PEM file with the client certificate.' }),
  cert: text('cert', { help: 'The same, inline.' }),
  keyFile: text('key_file', { help: 'PEM file with the key of the client certificate.' }),
  key: text('key', { help: 'The same, inline.', secret: true }),
  watchCerts: flag('watch_certs', {
    default: false,
    help: 'Load changed files without a restart.',
  }),
  watchCertsPollIntervalMs: duration('watch_certs_poll_interval', {
    default: 5 * SECOND,
    help: 'How often the files are checked.',
  }),
  requireClientCert: flag('require_client_cert', {
    default: false,
    help: 'Accepted for upstream files; means something to servers only.',
  }),
  insecureSkipVerify: flag('insecure_skip_verify', {
    default: false,
    help: 'Do not check the certificate of the server.',
  }),
  insecureKeyLogFile: text('insecure_key_log_file', {
    help: 'File to which TLS secrets are written, for debugging.',
  }),
});

const connection = {
  tls,
  initTimeoutMs: duration('init_timeout', {
    default: 20 * SECOND,
    help: 'Time limit for the first contact.',
  }),
  idleConnTimeoutMs: duration('idle_conn_timeout', {
    default: 90 * SECOND,
    help: 'Idle connections are closed after this time.',
  }),
  maxIdleConns: count('max_idle_conns', {
    default: 100,
    atLeast: 0,
    help: 'Most connections kept.',
  }),
  dialTimeoutMs: duration('dial_timeout', {
    default: 10 * SECOND,
    help: 'Time limit for a connection.',
  }),
  dialKeepAliveMs: duration('dial_keep_alive', {
    default: 10 * SECOND,
    help: 'Interval of TCP keep-alives.',
  }),
  tlsHandshakeTimeoutMs: duration('tls_handshake_timeout', {
    default: 10 * SECOND,
    help: 'Time limit for the TLS handshake.',
  }),
  clientTimeoutMs: duration('client_timeout', {
    default: 15 * MINUTE,
    help: 'Time limit for a whole operation.',
  }),
  useUpdateMarker: flag('use_update_marker', {
    default: false,
    help: 'Replace most listings by reads of one object.',
  }),
  updateMarkerForceListIntervalMs: duration('update_marker_force_list_interval', {
    default: 5 * MINUTE,
    help: 'With it, the storage is still listed this often.',
  }),
};

const globalPrefix = text('global_prefix', {
  help: 'Put before all names as it is; no separator is added.',
});

/** `storage.options` of type `fs`. */
export const FS_FIELDS = {
  rootPath: text('root_path', {
    help: 'The folder; created if missing.',
    required: true,
    example: 'root_path: /srv/lightningstream',
  }),
};

/** `storage.options` of type `s3`. */
export const S3_FIELDS = {
  accessKey: text('access_key', {
    help: 'Static key. Without keys and key files the credential chain of the AWS SDK is used.',
    secret: true,
  }),
  secretKey: text('secret_key', { help: 'Its secret.', secret: true }),
  accessKeyFile: text('access_key_file', { help: 'File with the key, taken as it is.' }),
  secretKeyFile: text('secret_key_file', { help: 'File with the secret, taken as it is.' }),
  secretsRefreshIntervalMs: duration('secrets_refresh_interval', {
    default: 15 * SECOND,
    help: 'How often these files are read; at least 1s.',
  }),
  region: text('region', {
    help: 'The region. Not given: at AWS that of the AWS SDK (environment, profile), else `us-east-1`.',
  }),
  bucket: text('bucket', {
    example: 'bucket: my-dns-bucket',
    help: 'The bucket.',
    required: true,
  }),
  storageClass: text('storage_class', { help: 'Storage class of stored objects.' }),
  createBucket: flag('create_bucket', {
    default: false,
    help: 'Create the bucket if it is missing.',
  }),
  globalPrefix,
  prefixFolders: flag('prefix_folders', { default: false, help: 'Deprecated.' }),
  hideFolders: flag('hide_folders', {
    default: false,
    help: 'Leave out names with a `/` after the prefix.',
  }),
  endpointUrl: text('endpoint_url', {
    default: 'https://s3.amazonaws.com',
    help: 'The service, with http:// or https://.',
  }),
  disableSendContentMd5: flag('disable_send_content_md5', {
    default: false,
    help: 'Send no Content-MD5.',
  }),
  numMinioThreads: count('num_minio_threads', {
    default: 0,
    atLeast: 0,
    help: 'Parallel parts of one upload. 0: the default of the client.',
  }),
  ...connection,
};

/** `storage.options` of type `azure`. */
export const AZURE_FIELDS = {
  accountName: text('account_name', {
    help: 'The storage account. Needed with `use_shared_key`, and unless `endpoint_url` is given.',
  }),
  accountKey: text('account_key', { help: 'With `use_shared_key`.', secret: true }),
  accountKeyFile: text('account_key_file', {
    help: 'File with the key, before `account_key`; white space around it is dropped.',
  }),
  secretsRefreshIntervalMs: duration('secrets_refresh_interval', {
    default: 15 * SECOND,
    help: 'How often this file is read; at least 1s.',
  }),
  useSharedKey: flag('use_shared_key', {
    default: false,
    help: 'Use the account key. Without it: a SAS in `endpoint_url`, else the credential chain of the Azure SDK (environment, workload and managed identity, CLI), over https only.',
  }),
  container: text('container', {
    help: 'The container.',
    required: true,
    example: 'container: my-dns-container',
  }),
  createContainer: flag('create_container', {
    default: false,
    help: 'Create it if it is missing.',
  }),
  endpointUrl: urlWithSecretQuery('endpoint_url', {
    help: 'The service, with http:// or https://; its query is a SAS. Not given: `https://ACCOUNT.blob.core.windows.net`.',
  }),
  globalPrefix,
  concurrency: count('concurrency', {
    default: 0,
    atLeast: 0,
    help: 'Parallel blocks of one upload, 8 MiB each. 0: one.',
  }),
  ...connection,
};

export type FsOptions = Values<typeof FS_FIELDS>;
export type S3Options = Values<typeof S3_FIELDS>;
export type AzureOptions = Values<typeof AZURE_FIELDS>;
