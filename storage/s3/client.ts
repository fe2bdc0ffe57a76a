import type * as sdkModule from '@aws-sdk/client-s3';
import type { S3Client, S3ClientConfig } from '@aws-sdk/client-s3';
import { NodeHttpHandler } from '@smithy/node-http-handler';

import { SyncError } from '../../protocol/errors.ts';
import { openAgents } from '../http/connections.ts';
import { REQUEST_ATTEMPTS, STALL_TIMEOUT_MS } from '../limits.ts';
import { configuredCredentials } from './credentials.ts';
import type { S3StoreOptions } from './options.ts';
import { timerMs } from '../../protocol/time.ts';

/** The SDK, loaded only where S3 is used: it takes 24 MB and a noticeable part of a second. */
type S3Sdk = typeof sdkModule;

export type OpenedClient = {
  readonly sdk: S3Sdk;
  readonly client: S3Client;
  /** Host of the endpoint, for messages. */
  readonly host: string;
  readonly close: () => void;
};

const AWS_ENDPOINT = 'https://s3.amazonaws.com';
/** Upstream's, where nothing names another one. */
const DEFAULT_REGION = 'us-east-1';

/** Loads the SDK and makes the client; no request yet. Rejects with CONFIG_INVALID. */
export async function openS3Client(options: S3StoreOptions): Promise<OpenedClient> {
  if (options.bucket === '') {
    throw new SyncError('CONFIG_INVALID', 'storage.options has no bucket', {
      hint: 'Set bucket to the name of the S3 bucket.',
    });
  }
  const endpoint = parseEndpoint(options.endpointUrl ?? '');
  const credentials = configuredCredentials(options);
  const { region = '' } = options;
  const agents = await openAgents(options, {});
  const sdk = await import('@aws-sdk/client-s3');
  const config: S3ClientConfig = {
    maxAttempts: REQUEST_ATTEMPTS,
    // Checksums beyond what S3 itself requires are refused or mangled by many S3-compatible servers.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    followRegionRedirects: true,
    forcePathStyle: options.forcePathStyle ?? endpoint !== undefined,
    requestHandler: new NodeHttpHandler({
      connectionTimeout: timerMs(options.dialTimeoutMs ?? 10_000),
      socketTimeout: timerMs(options.stallTimeoutMs ?? STALL_TIMEOUT_MS),
      httpAgent: agents.http,
      httpsAgent: agents.https,
    }),
    // With it Node writes the head before a proxy for http could get the whole address into it.
    ...(endpoint?.protocol === 'http:' && (options.proxies?.httpProxy ?? '') !== ''
      ? { expectContinueHeader: false }
      : {}),
    ...(endpoint === undefined ? {} : { endpoint: endpoint.href }),
    ...(credentials === undefined ? {} : { credentials }),
    region: region === '' ? await regionFor(endpoint, sdk) : region,
  };
  const client = new sdk.S3Client(config);
  return {
    sdk,
    client,
    host: endpoint?.host ?? 'AWS S3',
    close() {
      client.destroy();
      agents.close();
    },
  };
}

/**
 * The region where none is configured: at AWS that of the SDK's own chain (environment, profile). Elsewhere such a
 * region is about something else, and servers refuse signatures for another one than theirs.
 */
async function regionFor(endpoint: URL | undefined, sdk: S3Sdk): Promise<string> {
  if (endpoint !== undefined && !/\.amazonaws\.com(?:\.cn)?$/.test(endpoint.hostname)) {
    return DEFAULT_REGION;
  }
  const probe = new sdk.S3Client({});
  try {
    return await probe.config.region();
  } catch {
    // Neither environment nor profile names one.
    return DEFAULT_REGION;
  } finally {
    probe.destroy();
  }
}

/** Undefined for AWS itself, whose regional endpoints the SDK knows. */
function parseEndpoint(text: string): URL | undefined {
  if (text === '' || text.replace(/\/$/, '') === AWS_ENDPOINT) {
    return undefined;
  }
  let url: URL | undefined;
  try {
    url = new URL(text);
  } catch {
    // Reported below, without the text: it may hold a password.
  }
  if (url === undefined || !['http:', 'https:'].includes(url.protocol)) {
    throw new SyncError('CONFIG_INVALID', 'endpoint_url is no URL with http:// or https://', {
      hint: 'Write it as https://HOST or http://HOST:PORT.',
    });
  }
  if (url.username !== '' || url.password !== '') {
    throw new SyncError('CONFIG_INVALID', 'endpoint_url must not hold a user name or password', {
      hint: 'Set access_key and secret_key instead.',
    });
  }
  return url;
}
