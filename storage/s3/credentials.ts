import { SyncError } from '../../protocol/errors.ts';
import type { KeyOptions } from '../http/key-reload.ts';
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
  if (accessKeyFile === '' && accessKey === '') {
    return undefined;
  }
  if (accessKeyFile === '' && options.keyReload === undefined) {
    return { accessKeyId: accessKey, secretAccessKey: secretKey };
  }
  return changingKeys(options, nowMs);
}

function requirePair(keyName: string, key: string, secretName: string, secret: string): void {
  if ((key === '') !== (secret === '')) {
    const [given, missing] = secret === '' ? [keyName, secretName] : [secretName, keyName];
    throw new SyncError('CONFIG_INVALID', `storage.options has ${given} but no ${missing}`, {
      hint: `Set both, or neither to use the credentials of the AWS SDK's chain.`,
    });
  }
}

/** Keys that are read anew every interval, and at the next request once they are to be reloaded. */
function changingKeys(options: CredentialOptions, now: () => number): () => Promise<Keys> {
  const refreshMs = options.secretsRefreshIntervalMs ?? KEYS_REFRESH_MS;
  if (refreshMs < KEYS_REFRESH_MIN_MS) {
    throw new SyncError('CONFIG_INVALID', 'secrets_refresh_interval is below 1s', {
      hint: 'Set it to 1s or more.',
    });
  }
  let source: KeyOptions = options;
  let keys: Keys | undefined;
  let readAtMs = Number.NEGATIVE_INFINITY;
  options.keyReload?.onReload((next) => {
    // Of a file that a rotation has just emptied what was read before stays good; of another file it does not.
    if (
      next.accessKeyFile !== source.accessKeyFile ||
      next.secretKeyFile !== source.secretKeyFile
    ) {
      keys = undefined;
    }
    source = next;
    readAtMs = Number.NEGATIVE_INFINITY;
  });
  return async () => {
    // The SDK asks before every request, because it asks five minutes before the expiration.
    const nowMs = now();
    if (keys === undefined || nowMs - readAtMs >= refreshMs) {
      const read = await readKeys(source, keys);
      readAtMs = nowMs;
      keys = { ...read, expiration: new Date(nowMs + refreshMs) };
    }
    return keys;
  };
}

async function readKeys(source: KeyOptions, before: Keys | undefined): Promise<Keys> {
  const { accessKey = '', secretKey = '', accessKeyFile = '', secretKeyFile = '' } = source;
  if (accessKeyFile === '') {
    return { accessKeyId: accessKey, secretAccessKey: secretKey };
  }
  const [accessKeyId, secretAccessKey] = await Promise.all([
    readKeyFile(accessKeyFile, before?.accessKeyId),
    readKeyFile(secretKeyFile, before?.secretAccessKey),
  ]);
  return { accessKeyId, secretAccessKey };
}
