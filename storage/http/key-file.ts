import { readFile } from 'node:fs/promises';

import { errorText, SyncError } from '../../protocol/errors.ts';

/** How long a key file's content is used before it is read again, unless configured; upstream's. */
export const KEYS_REFRESH_MS = 15_000;

/** The shortest such time that can be configured; upstream's. */
export const KEYS_REFRESH_MIN_MS = 1000;

/** The key in a file; what was read before where a rotation has just emptied or removed the file. */
export async function readKeyFile(path: string, before: string | undefined): Promise<string> {
  let text = '';
  let cause: unknown;
  try {
    text = (await readFile(path, 'utf8')).trim();
  } catch (error) {
    cause = error;
  }
  if (text !== '') {
    return text;
  }
  if (before !== undefined) {
    return before;
  }
  const why = cause === undefined ? 'it is empty' : errorText(cause);
  throw new SyncError('STORAGE_DENIED', `cannot read the key file ${path}: ${why}`, {
    hint: 'Write the key to that file and let the user of this agent read it.',
    retryable: true,
    cause,
  });
}
