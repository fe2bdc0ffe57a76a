import { readFile } from 'node:fs/promises';

import { errorText, SyncError } from '../errors.ts';
import type { CredentialOptions } from './s3-options.ts';

/** Keys as the SDK wants them. */
export type Keys = {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** The SDK asks again once this is near. */
  readonly expiration?: Date;
};

const DEFAULT_REFRESH_MS = 15_000;

/**
 * The configured keys: a provider that reads key files anew every interval, fixed keys, or undefined for the SDK's
 * own chain. Throws CONFIG_INVALID for half a pair and an interval below a second.
 *
 * Line ends and blanks around the files' content are dropped, where upstream takes it verbatim: most editors and
 * `kubectl create secret` write a line end, and no key contains white space.
 */
export function configuredCredentials(
  options: CredentialOptions,
  nowMs: () => number = Date.now,
): Keys | (() => Promise<Keys>) | undefined {
  const { accessKey = '', secretKey = '', accessKeyFile = '', secretKeyFile = '' } = options;
  requirePair('access_key_file', accessKeyFile, 'secret_key_file', secretKeyFile);
  requirePair('access_key', accessKey, 'secret_key', secretKey);
  if (accessKeyFile !== '') {
    return fileKeys(options, { accessKeyFile, secretKeyFile, nowMs });
  }
  return accessKey === '' ? undefined : { accessKeyId: accessKey, secretAccessKey: secretKey };
}

function requirePair(keyName: string, key: string, secretName: string, secret: string): void {
  if ((key === '') !== (secret === '')) {
    const [given, missing] = secret === '' ? [keyName, secretName] : [secretName, keyName];
    throw new SyncError('CONFIG_INVALID', `storage.options has ${given} but no ${missing}`, {
      hint: `Set both, or neither to use the credentials of the AWS SDK's chain.`,
    });
  }
}

function fileKeys(
  options: CredentialOptions,
  source: { accessKeyFile: string; secretKeyFile: string; nowMs: () => number },
): () => Promise<Keys> {
  const refreshMs = options.secretsRefreshIntervalMs ?? DEFAULT_REFRESH_MS;
  if (refreshMs < 1000) {
    throw new SyncError('CONFIG_INVALID', 'secrets_refresh_interval is below 1s', {
      hint: 'Set it to 1s or more.',
    });
  }
  let keys: Keys | undefined;
  let readAtMs = 0;
  return async () => {
    // The SDK asks before every request, because it asks five minutes before the expiration.
    const nowMs = source.nowMs();
    if (keys === undefined || nowMs - readAtMs >= refreshMs) {
      const [accessKeyId, secretAccessKey] = await Promise.all([
        readKey(source.accessKeyFile, keys?.accessKeyId),
        readKey(source.secretKeyFile, keys?.secretAccessKey),
      ]);
      readAtMs = nowMs;
      keys = { accessKeyId, secretAccessKey, expiration: new Date(nowMs + refreshMs) };
    }
    return keys;
  };
}

/** The key in a file; what was read before where a rotation has just emptied or removed the file. */
async function readKey(path: string, before: string | undefined): Promise<string> {
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
