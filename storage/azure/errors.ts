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
import type { AzureCredentials } from './credentials.ts';

/** What was being done, for messages; never holds keys. */
export type AzureAction = {
  /** "store NAME", "list PREFIX*" */
  readonly action: string;
  readonly container: string;
  /** Host of the endpoint. */
  readonly host: string;
  readonly credentialKind: AzureCredentials['kind'];
  /** Not a fixed key: refused credentials may be right later. */
  readonly keysMayChange: boolean;
};

type Facts = {
  readonly name: string;
  /** The service's code, or Node's where there was no answer. */
  readonly code: string;
  readonly status: number | undefined;
  readonly requestId: string | undefined;
  readonly text: string;
};

const LONGEST_TEXT = 300;
/** Classes of errors of `@azure/identity`: no token could be had. */
const NO_TOKEN =
  /^(CredentialUnavailableError|AuthenticationError|AuthenticationRequiredError|AggregateAuthenticationError)$/;
const WRONG_KEYS = new Set([
  'AuthenticationFailed',
  'InvalidAuthenticationInfo',
  'NoAuthenticationInformation',
]);
/** 400s that are damage on the way, or blocks that another writer of the same name has removed. */
const PASSING = new Set([
  'Md5Mismatch',
  'Crc64Mismatch',
  'RequestBodyIncomplete',
  'InvalidBlockList',
  'InvalidBlobOrBlock',
]);

/** What the error of an SDK call says about itself. Never throws. */
export function azureFacts(error: unknown): Facts {
  const outer = fieldsOf(error);
  const headers = fieldsOf(fieldsOf(outer['response'])['headers']);
  const header = (name: string) =>
    typeof headers['get'] === 'function'
      ? textOf((error as WithHeaders).response.headers.get(name))
      : undefined;
  const status = outer['statusCode'];
  return {
    name: textOf(outer['name']) ?? 'Unknown',
    code:
      header('x-ms-error-code') ??
      textOf(fieldsOf(outer['details'])['errorCode']) ??
      textOf(outer['code']) ??
      (status === undefined ? codeInText(errorText(error)) : ''),
    status: typeof status === 'number' ? status : undefined,
    requestId: header('x-ms-request-id'),
    text: errorText(error),
  };
}

type WithHeaders = { response: { headers: { get(name: string): unknown } } };

/** True for "no such blob"; false for "no such container". */
export function isMissingBlob(error: unknown): boolean {
  const { code, status } = azureFacts(error);
  return status === 404 && !code.startsWith('Container');
}

/** True where the condition of a write did not hold: another writer was first. */
export function isLostCondition(error: unknown): boolean {
  const { code, status } = azureFacts(error);
  return (
    (status === 409 && code === 'BlobAlreadyExists') ||
    // A lease of somebody else's is 412 too.
    (status === 412 && !code.startsWith('Lease'))
  );
}

/** The labels that S3's errors have: NotFound, Timeout, DNSError, URLError, a service code, or Unknown. */
export function azureErrorType(error: unknown): string | undefined {
  if (isLostCondition(error)) {
    // The answer to a conditional write that lost, not a failure.
    return undefined;
  }
  if (isMissingBlob(error)) {
    return 'NotFound';
  }
  const facts = azureFacts(error);
  if (facts.status !== undefined) {
    return facts.code === '' ? 'Unknown' : facts.code;
  }
  return connectionErrorType(facts);
}

/**
 * The SyncError for a failed call, the only place that decides whether trying again helps.
 *
 * The SDK's error is not kept as `cause`: it carries the whole request, with a SAS in its URL or a signature in its
 * headers, and loggers print the fields of causes.
 */
export function azureError(error: unknown, context: AzureAction): SyncError {
  if (error instanceof SyncError) {
    return error;
  }
  const facts = azureFacts(error);
  const { name, code, status, requestId } = facts;
  const label = status === undefined ? code || name : `${code || name}, HTTP ${status}`;
  const request = requestId === undefined ? '' : `, request ${requestId}`;
  const diagnosis =
    status === undefined
      ? connectionDiagnosis(facts, context)
      : serviceDiagnosis(facts, status, context);
  return new SyncError(
    diagnosis.denied === true ? 'STORAGE_DENIED' : 'STORAGE_FAILED',
    `cannot ${context.action} in container ${context.container} at ${context.host}: ${
      diagnosis.what ?? 'failed'
    } (${label}${request})${firstLine(facts.text)}`,
    { hint: diagnosis.hint, retryable: diagnosis.retryable },
  );
}

/** Behind it the service puts request id, time and, for a wrong signature, the string that was signed. */
function firstLine(text: string): string {
  const line = (text.split(/\n|RequestId:/, 1)[0] ?? '').trim();
  return line === '' ? '' : `: ${line.slice(0, LONGEST_TEXT)}`;
}

function serviceDiagnosis(facts: Facts, status: number, context: AzureAction): Diagnosis {
  const { code } = facts;
  const { container, keysMayChange } = context;
  // Azurite gives a wrong signature the code that the service has for its firewall, but the service's text.
  if (WRONG_KEYS.has(code) || (status === 403 && /failed to authenticate/i.test(facts.text))) {
    return denied('the credentials are refused', refusedHint(context), keysMayChange);
  }
  if (code === 'ContainerNotFound' || (status === 404 && code === 'ResourceNotFound')) {
    return denied(
      'no such container',
      `Create the container ${container}, or set create_container: true.`,
      false,
    );
  }
  if (code === 'AccountIsDisabled') {
    return denied('the account is disabled', 'Enable the storage account.', true);
  }
  if (code === 'BlobImmutableDueToPolicy') {
    return denied(
      'the container is under an immutability policy',
      `Use a container without one: objects are replaced and removed.`,
      false,
    );
  }
  if (status === 401 || status === 403) {
    return denied(
      'access denied',
      `Give this identity the role Storage Blob Data Contributor on the container ${container}, and let the account's firewall admit this host.`,
      // A role takes minutes until it holds.
      context.credentialKind !== 'sas',
    );
  }
  if (status >= 500 || status === 429 || status === 408 || status === 409) {
    return {
      what: 'the storage is busy or failing',
      hint: 'Nothing, if it passes; else look at the state of the storage account.',
      retryable: true,
    };
  }
  const passing = PASSING.has(code);
  return {
    hint: passing
      ? 'Check the network to the storage if it stays.'
      : 'Check storage.options against the documentation of the storage.',
    retryable: passing,
  };
}

function refusedHint({ credentialKind }: AzureAction): string {
  switch (credentialKind) {
    case 'shared-key':
      return 'Check account_name and account_key (or its file), and the clock of this host (NTP).';
    case 'sas':
      return 'Check the SAS in endpoint_url, its expiry, and the clock of this host (NTP).';
    case 'default':
      return 'Check the identity that the Azure SDK finds on this host, and that its tenant is that of the account.';
    default:
      return credentialKind satisfies never;
  }
}

function connectionDiagnosis(facts: Facts, { host }: AzureAction): Diagnosis {
  if (NO_TOKEN.test(facts.name)) {
    return denied(
      'no credentials',
      'Set use_shared_key and the account key, or give this host credentials that the Azure SDK finds.',
      true,
    );
  }
  return diagnoseConnection(facts, {
    host,
    dnsHint: 'Check account_name, endpoint_url and the DNS of this host.',
  });
}
