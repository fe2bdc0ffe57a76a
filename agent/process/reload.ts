import { errorText, SyncError } from '../../protocol/errors.ts';
import type { KeyOptions, KeyReload } from '../../storage/http/key-reload.ts';
import { changedKeys } from '../config/changed-keys.ts';
import { requireStorageOptions, type Config, type ParsedConfig } from '../config/config.ts';
import type { Check, HealthChecks } from '../watchdog/health-check.ts';
import type { ConfigurableLogger } from '../log/log.ts';

export type ReloadDeps = {
  /** Reads the file with the same flags as at start. Throws CONFIG_INVALID. */
  readonly load: () => ParsedConfig;
  readonly log: ConfigurableLogger;
  readonly keys: KeyReload;
};

/** What SIGHUP does: reads the configuration again, takes what a running agent can take, and names the rest. */
export class ConfigReload implements HealthChecks {
  readonly #deps: ReloadDeps;
  readonly #started: Config;
  #current: Config;
  #trouble: string | undefined;

  /** `started` is what the agent began with. */
  constructor(started: Config, deps: ReloadDeps) {
    this.#started = started;
    this.#current = started;
    this.#deps = deps;
  }

  /** Never throws: a file that cannot be used is one line, and what was in force stays. */
  reload(): void {
    const { load, log, keys } = this.#deps;
    let next: Config;
    let storage: KeyOptions;
    try {
      const loaded = load();
      next = loaded.config;
      storage = requireStorageOptions(next.storage) as KeyOptions;
      loaded.warnings.forEach((warning) => log.warn({}, warning));
    } catch (error) {
      this.#trouble = `the configuration was not taken: ${oneLine(errorText(error))}; the one before stays in force`;
      const hint =
        error instanceof SyncError && error.hint !== undefined ? oneLine(error.hint) : undefined;
      log.error(
        { error: oneLine(errorText(error)), hint },
        'SIGHUP: the configuration was not taken, the one before stays in force',
      );
      return;
    }
    const all = changedKeys(this.#started, next);
    const live = takenOver(this.#started, next, all);
    const waiting = all.filter((key) => !live.has(key));
    const taken = changedKeys(this.#current, next).filter((key) => live.has(key));
    this.#current = next;
    log.configure(next.log);
    if (live.size > LOG_KEYS.length) {
      keys.reload(storage);
    }
    const changed = taken.length === 0 ? undefined : taken.join(', ');
    if (waiting.length === 0) {
      this.#trouble = undefined;
      log.info({ changed }, 'SIGHUP: configuration and key files are read again');
      return;
    }
    const keysText = waiting.join(', ');
    this.#trouble = `the configuration has changes that need a restart: ${keysText}`;
    log.warn(
      { changed, needs_restart: keysText },
      'SIGHUP: configuration and key files are read again; some changes need a restart',
    );
  }

  checks(): Check[] {
    return this.#trouble === undefined
      ? []
      : [{ name: 'configuration_reload', level: 'warning', message: this.#trouble }];
  }
}

const LOG_KEYS = ['log.level', 'log.format', 'log.timestamp'] as const;
const S3_KEYS = ['access_key', 'secret_key', 'access_key_file', 'secret_key_file'] as const;
const AZURE_KEYS = ['account_key', 'account_key_file'] as const;

/**
 * Which keys a running agent takes over: the log, and the keys of a storage that has had configured ones all along.
 * Keys that come with another bucket or endpoint are for that one, so they wait with it.
 */
function takenOver(started: Config, next: Config, changed: readonly string[]): Set<string> {
  const storageKeys = keysOfStorage(started, next).map((key) => `storage.options.${key}`);
  const isOther = changed.some(
    (key) =>
      key.startsWith('storage.') &&
      !key.startsWith('storage.cleanup.') &&
      !storageKeys.includes(key),
  );
  return new Set([...LOG_KEYS, ...(isOther ? [] : storageKeys)]);
}

function keysOfStorage(started: Config, next: Config): readonly string[] {
  const before = started.storage.options;
  const after = next.storage.options;
  if (before instanceof SyncError || after instanceof SyncError) {
    return [];
  }
  if (before.type === 's3' && after.type === 's3') {
    return hasKeys(before) && hasKeys(after) ? S3_KEYS : [];
  }
  const isShared = before.type === 'azure' && before.useSharedKey;
  return isShared && after.type === 'azure' && after.useSharedKey ? AZURE_KEYS : [];
}

function hasKeys({ accessKey = '', accessKeyFile = '' }: KeyOptions): boolean {
  return accessKey !== '' || accessKeyFile !== '';
}

function oneLine(text: string): string {
  return text.replaceAll('\n', '; ');
}
