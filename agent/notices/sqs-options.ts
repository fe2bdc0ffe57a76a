import type { ConnectionOptions } from '../../storage/http/connection-options.ts';
import type { ProxyEnvironment } from '../../storage/http/proxy-rules.ts';
import type { CredentialOptions } from '../../storage/s3/options.ts';
import { requireStorageOptions, type Config } from '../config/config.ts';
import type { QueueRequestReport } from './queue-service.ts';

export type SqsOptions = {
  /** Empty: that of the SDK (environment, profile). */
  readonly region: string;
  /** Empty: AWS, or the host of a queue's URL that is not AWS's. */
  readonly endpointUrl: string;
  /** A queue that is going to be used; may be empty. */
  readonly queueUrl: string;
  /** Keys and TLS; without keys the SDK's chain finds them. */
  readonly connection?: (CredentialOptions & ConnectionOptions) | undefined;
  /** HTTP proxies, as the environment names them; not given: none. */
  readonly proxies?: ProxyEnvironment | undefined;
  /** Called after every call; must not throw. */
  readonly onRequest?: ((report: QueueRequestReport) => void) | undefined;
};

/**
 * Where the queues are and with which keys. Keys and TLS of the storage are used for SQS only where both are one
 * provider's: keys for one service are not shown to another. Errors: CONFIG_INVALID.
 */
export function sqsOptions(config: Config): Omit<SqsOptions, 'onRequest'> {
  const { notices } = config;
  const queueUrl = notices.queueUrl || notices.directQueueUrl;
  const storage = requireStorageOptions(config.storage);
  const s3 = storage.type === 's3' ? storage : undefined;
  const isShared =
    s3 !== undefined && providerOf(s3.endpointUrl) === providerOf(notices.endpointUrl || queueUrl);
  return {
    region: notices.region || awsRegionOf(queueUrl) || s3?.region || '',
    endpointUrl: notices.endpointUrl,
    queueUrl,
    connection: isShared ? s3 : undefined,
  };
}

/** True for a URL whose host is not AWS's. */
export function isForeign(url: string | undefined): boolean {
  return url !== undefined && url !== '' && awsServiceOf(url) === undefined;
}

/** Scheme and host of a queue that is not at AWS. */
export function foreignOriginOf(queueUrl: string): string | undefined {
  return isForeign(queueUrl) && URL.canParse(queueUrl) ? new URL(queueUrl).origin : undefined;
}

function providerOf(url: string): string {
  if (url === '' || awsServiceOf(url) !== undefined) {
    return 'AWS';
  }
  return URL.canParse(url) ? new URL(url).origin : url;
}

/** The region in `https://sqs.REGION.amazonaws.com/…`. */
function awsRegionOf(queueUrl: string): string | undefined {
  return /^sqs\.([a-z0-9-]+)$/.exec(awsServiceOf(queueUrl) ?? '')?.[1];
}

/** What stands before AWS's own name in a URL's host, as `sqs.eu-west-1`; undefined: the host is not AWS's. */
function awsServiceOf(url: string): string | undefined {
  return /^https?:\/\/([^/]*)\.amazonaws\.com(?:\.cn)?(?:\/|$)/.exec(url)?.[1];
}
