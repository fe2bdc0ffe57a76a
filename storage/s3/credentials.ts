import { SyncError } from '../../protocol/errors.ts';
import { KEYS_REFRESH_MIN_MS, KEYS_REFRESH_MS, readKeyFile } from '../http/key-file.ts';
import type { CredentialOptions } from './options.ts';

/** Keys as the SDK wants them. */
export type Keys = {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** The SDK asks again once this is near. */
  readonly expiration?: Date;
};

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
  const refreshMs = options.secretsRefreshIntervalMs ?? KEYS_REFRESH_MS;
  if (refreshMs < KEYS_REFRESH_MIN_MS) {
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
        readKeyFile(source.accessKeyFile, keys?.accessKeyId),
        readKeyFile(source.secretKeyFile, keys?.secretAccessKey),
      ]);
      readAtMs = nowMs;
      keys = { accessKeyId, secretAccessKey, expiration: new Date(nowMs + refreshMs) };
    }
    return keys;
  };
}
