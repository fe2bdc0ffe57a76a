/** One answer of the status server, whole in memory. */
export type Answer = {
  readonly statusCode: number;
  readonly type: string;
  readonly body: string;
  /** Content security policy; unless given, what is answered may do nothing at all. */
  readonly policy?: string | undefined;
  /** A browser saves it under this name. */
  readonly fileName?: string | undefined;
};

/** Plain text; a line end is added. */
export function answerText(statusCode: number, body: string): Answer {
  return { statusCode, type: 'text/plain; charset=utf-8', body: `${body}\n` };
}

/** Text that is JSON. */
export function answerJson(statusCode: number, body: string): Answer {
  return { statusCode, type: 'application/json; charset=utf-8', body };
}

const NOTHING = "default-src 'none'; frame-ancestors 'none'";

/** The head of the answer: never kept, never guessed at, never part of another page. */
export function answerHeaders(answer: Answer): Record<string, string | number> {
  return {
    'content-type': answer.type,
    'content-length': Buffer.byteLength(answer.body),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    'content-security-policy': answer.policy ?? NOTHING,
    'referrer-policy': 'no-referrer',
    'cross-origin-resource-policy': 'same-origin',
    ...(answer.fileName === undefined
      ? {}
      : { 'content-disposition': `attachment; filename="${answer.fileName}"` }),
    ...(answer.statusCode === 405 ? { allow: 'GET, HEAD' } : {}),
  };
}
