import { errorText, SyncError } from '../../protocol/errors.ts';
import {
  codeInText,
  connectionErrorType,
  denied,
  fieldsOf,
  textOf,
  type Diagnosis,
  diagnoseConnection,
} from '../http/connection-errors.ts';

/** What was being done, for messages; never holds keys. */
export type S3Action = {
  /** "store NAME", "list PREFIX*" */
  readonly action: string;
  /** The IAM action it needs: "s3:PutObject". */
  readonly permission: string;
  readonly bucket: string;
  /** Host of the endpoint, or AWS's. */
  readonly host: string;
  /** Not static keys: files and the SDK's chain are asked again, so that refused keys may be right later. */
  readonly keysMayChange: boolean;
};

type Facts = {
  readonly name: string;
  readonly code: string;
  readonly status: number | undefined;
  readonly requestId: string | undefined;
  readonly attempts: number;
  readonly region: string | undefined;
};

const WRONG_KEYS = new Set([
  'InvalidAccessKeyId',
  'SignatureDoesNotMatch',
  'InvalidToken',
  'InvalidClientTokenId',
  'UnrecognizedClientException',
  'ExpiredToken',
  'TokenRefreshRequired',
]);
const CLOCK = new Set(['RequestTimeTooSkewed', 'RequestExpired', 'RequestInTheFuture']);
const WRONG_REGION = new Set([
  'PermanentRedirect',
  'AuthorizationHeaderMalformed',
  'IllegalLocationConstraintException',
  'IncorrectEndpoint',
]);
/** What the error of an SDK call says about itself. Never throws. */
export function s3Facts(error: unknown): Facts {
  const outer = fieldsOf(error);
  const inner = fieldsOf(outer['cause']);
  const metadata = fieldsOf(outer['$metadata']);
  const status = metadata['httpStatusCode'];
  const attempts = metadata['attempts'];
  return {
    name: textOf(outer['name']) ?? 'Unknown',
    code: textOf(outer['code']) ?? textOf(inner['code']) ?? codeInText(errorText(error)),
    status: typeof status === 'number' ? status : undefined,
    requestId: textOf(metadata['requestId']),
    attempts: typeof attempts === 'number' ? attempts : 1,
    region: textOf(outer['Region']) ?? textOf(outer['region']),
  };
}

/** True for "no such object"; false for "no such bucket". */
export function isMissingObject(error: unknown): boolean {
  const { name, status } = s3Facts(error);
  return (
    name === 'NoSuchKey' || name === 'NotFound' || (status === 404 && !name.startsWith('NoSuch'))
  );
}

/** Upstream's label for metrics: NotFound, Timeout, DNSError, URLError, a service code, or Unknown. */
export function s3ErrorType(error: unknown): string | undefined {
  const facts = s3Facts(error);
  const { name, status } = facts;
  if (name === 'PreconditionFailed' || status === 412 || status === 304) {
    // The answer to a conditional write that lost, not a failure.
    return undefined;
  }
  if (isMissingObject(error)) {
    return 'NotFound';
  }
  if (status !== undefined) {
    return name === 'Error' ? 'Unknown' : name;
  }
  return connectionErrorType(facts);
}

/**
 * The SyncError for a failed S3 call, the only place that decides whether trying again helps.
 *
 * The SDK's error is not kept as `cause`: for a refused signature it carries the key id and the string that was signed,
 * and loggers print the fields of causes.
 */
export function s3Error(error: unknown, context: S3Action): SyncError {
  if (error instanceof SyncError) {
    return error;
  }
  const facts = s3Facts(error);
  const { action, bucket, host } = context;
  const { name, code, status, requestId } = facts;
  const label = status === undefined ? code || name : `${name}, HTTP ${status}`;
  const request = requestId === undefined ? '' : `, request ${requestId}`;
  const text = errorText(error) === name ? '' : `: ${errorText(error)}`;
  const diagnosis = diagnose(facts, context);
  return new SyncError(
    diagnosis.denied === true ? 'STORAGE_DENIED' : 'STORAGE_FAILED',
    `cannot ${action} in bucket ${bucket} at ${host}: ${diagnosis.what ?? 'failed'} (${label}${request})${text}`,
    { hint: diagnosis.hint, retryable: diagnosis.retryable },
  );
}

function diagnose(facts: Facts, context: S3Action): Diagnosis {
  return facts.status === undefined
    ? connectionDiagnosis(facts, context)
    : serviceDiagnosis(facts, facts.status, context);
}

function serviceDiagnosis(facts: Facts, status: number, context: S3Action): Diagnosis {
  const { name, region } = facts;
  const { bucket, permission, keysMayChange } = context;
  if (CLOCK.has(name)) {
    return denied('the clock of this host is wrong', 'Set the clock of this host (NTP).', true);
  }
  if (WRONG_KEYS.has(name)) {
    const expired = name === 'ExpiredToken' || name === 'TokenRefreshRequired';
    return denied(
      expired ? 'the credentials have expired' : 'the keys are wrong',
      'Check access_key and secret_key (or their files, or the credentials of the environment).',
      keysMayChange || expired,
    );
  }
  if (name === 'NoSuchBucket' || (status === 404 && permission === 's3:CreateBucket')) {
    return denied(
      'no such bucket',
      `Create the bucket ${bucket}, or set create_bucket: true.`,
      false,
    );
  }
  if (WRONG_REGION.has(name) || status === 301) {
    return denied(
      'the bucket is in another region',
      region === undefined ? 'Set region to that of the bucket.' : `Set region: ${region}.`,
      false,
    );
  }
  if (status === 401 || status === 403) {
    return denied(
      'access denied',
      `Allow ${permission} on the bucket ${bucket} and the names under global_prefix${
        permission === 's3:GetObject'
          ? ' (and s3:ListBucket: without it a missing object is denied)'
          : ''
      }.`,
      keysMayChange,
    );
  }
  if (status === 501) {
    return denied(
      'the storage does not know this kind of request',
      'Use a storage with conditional writes (If-None-Match, If-Match): AWS S3, or a current MinIO or Ceph.',
      false,
    );
  }
  if (status >= 500 || status === 429 || status === 408 || status === 409 || name === 'SlowDown') {
    return {
      what: 'the storage is busy or failing',
      hint: 'Nothing, if it passes; else look at the state of the storage service.',
      retryable: true,
    };
  }
  // 400 RequestTimeout and BadDigest are damage on the way, NoSuchUpload a multipart upload that was cleaned up.
  const passing = ['RequestTimeout', 'BadDigest', 'IncompleteBody', 'NoSuchUpload'].includes(name);
  return {
    hint: passing
      ? 'Check the network to the storage if it stays.'
      : 'Check storage.options against the documentation of the storage.',
    retryable: passing,
  };
}

function connectionDiagnosis(facts: Facts, context: S3Action): Diagnosis {
  if (facts.name === 'CredentialsProviderError' || facts.name === 'TokenProviderError') {
    return denied(
      'no credentials',
      'Set access_key and secret_key, or give this host credentials that the AWS SDK finds.',
      true,
    );
  }
  return diagnoseConnection(facts, {
    host: context.host,
    dnsHint: 'Check endpoint_url, region and the DNS of this host.',
  });
}
