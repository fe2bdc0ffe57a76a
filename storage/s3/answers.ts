import { SyncError } from '../../protocol/errors.ts';
import type { S3Operation, S3Session } from './session.ts';

/**
 * What every answer of an S3 service has. A web page of a proxy, a portal or a wrong port answers 200,
 * too: taken for a listing it would say that the bucket is empty, taken for a PUT that it is stored.
 */
export function requireAnswer(
  isS3: boolean,
  operation: S3Operation,
  { session, lacks }: { readonly session: S3Session; readonly lacks: string },
): void {
  if (isS3) {
    return;
  }
  const { bucket } = session.options;
  const { host } = session.opened;
  throw new SyncError(
    'STORAGE_FAILED',
    `cannot ${operation.action} in bucket ${bucket} at ${host}: the answer is not that of an S3 service (${lacks})`,
    {
      hint: 'Check endpoint_url: a web page, a proxy or a sign-in portal answers there.',
      retryable: true,
    },
  );
}

/** The ETag of an answer, in the form that conditions are compared in. Errors: STORAGE_FAILED, where it has none. */
export function requireEtag(
  etag: string | undefined,
  operation: S3Operation,
  session: S3Session,
): string {
  const isThere = etag !== undefined && etag !== '';
  requireAnswer(isThere, operation, { session, lacks: 'no ETag' });
  return strongEtag(etag ?? '');
}

/**
 * An ETag without the mark of a weak one. Proxies that compress mark the ETags of what they pass on;
 * a weak one never satisfies `If-Match`, while the storage behind them has the strong one.
 */
export function strongEtag(etag: string): string {
  return etag.startsWith('W/') ? etag.slice(2) : etag;
}
