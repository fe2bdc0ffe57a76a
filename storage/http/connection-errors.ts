/** What a failure of a request comes to, for its SyncError. */
export type Diagnosis = {
  readonly what?: string;
  readonly hint: string;
  readonly denied?: boolean;
  readonly retryable: boolean;
};

/** A failure that never got an answer of the service, as the SDK and Node tell it. */
export type ConnectionFailure = {
  /** The error's class: TimeoutError, AbortError. */
  readonly name: string;
  /** Node's code: ECONNREFUSED, CERT_HAS_EXPIRED; empty: none. */
  readonly code: string;
};

const DNS = new Set(['ENOTFOUND', 'EAI_AGAIN', 'EAI_FAIL', 'EAI_NODATA']);
const TIMEOUT = new Set(['ETIMEDOUT', 'ESOCKETTIMEDOUT', 'RequestTimeout']);
const TLS =
  /^(ERR_TLS_|ERR_SSL_|ERR_OSSL_|CERT_|CRL_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|INVALID_CA|HOSTNAME_MISMATCH|EPROTO$)/;

/** The diagnosis where repeating does not help until somebody changes something, or credentials change by themselves. */
export function denied(what: string, hint: string, retryable: boolean): Diagnosis {
  return { what, hint, denied: true, retryable };
}

/** Upstream's label for metrics: DNSError, Timeout, URLError or Unknown. */
export function connectionErrorType({ name, code }: ConnectionFailure): string {
  if (DNS.has(code)) {
    return 'DNSError';
  }
  if (isTimeout(name, code)) {
    return 'Timeout';
  }
  return code === '' || code.startsWith('ERR_INVALID') ? 'Unknown' : 'URLError';
}

/** What went wrong below the service's protocol, and what to do. */
export function diagnoseConnection(
  { name, code }: ConnectionFailure,
  { host, dnsHint }: { readonly host: string; readonly dnsHint: string },
): Diagnosis {
  if (code === 'EPROXYDENIED' || code === 'EPROXYFAILED') {
    const hint =
      'Check HTTPS_PROXY, HTTP_PROXY and NO_PROXY in the environment, and what the proxy lets through.';
    return code === 'EPROXYDENIED'
      ? denied('the proxy refuses', hint, false)
      : { what: 'the proxy cannot reach it', hint, retryable: true };
  }
  if (DNS.has(code)) {
    return { what: `cannot resolve the name ${host}`, hint: dnsHint, retryable: true };
  }
  if (TLS.test(code)) {
    return denied(
      'the TLS connection was refused',
      'Check endpoint_url (http or https), and tls.ca_file for a CA of your own.',
      false,
    );
  }
  if (isTimeout(name, code)) {
    return {
      what: 'no answer in time',
      hint: 'Check the network and firewalls between this host and the storage.',
      retryable: true,
    };
  }
  if (code === 'ECONNREFUSED') {
    return {
      what: 'nothing listens there',
      hint: 'Check endpoint_url and that the storage runs.',
      retryable: true,
    };
  }
  return {
    what: 'the connection failed',
    hint: 'Check the network to the storage if it stays.',
    retryable: true,
  };
}

/** Node's error code in a text; empty: none. SDKs wrap errors of another realm (under jest) and keep only their text. */
export function codeInText(text: string): string {
  const code = /\b(E[A-Z]{4,}|ERR_[A-Z_]+)\b/.exec(text)?.[1];
  if (code !== undefined) {
    return code;
  }
  return /certificate/i.test(text) ? 'CERT_REFUSED' : /hang up/.test(text) ? 'ECONNRESET' : '';
}

/** The fields of whatever was thrown. */
export function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

/** A text that is not empty, or undefined. */
export function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

// The AWS SDK gives connection resets the name TimeoutError too; their code stays what it was.
function isTimeout(name: string, code: string): boolean {
  return TIMEOUT.has(code) || (name === 'TimeoutError' && code === '');
}
