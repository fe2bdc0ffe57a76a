import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { errorText, SyncError } from '../../protocol/errors.ts';
import { sanitizeInstance, type InstanceId } from '../../protocol/object-name.ts';
import { afterMergeProblems } from './after-merge-checks.ts';
import { expandVariables } from './expand.ts';
import type { Values } from './fields.ts';
import { noticeProblems } from './notice-checks.ts';
import { readStorageOptions, type StorageOptions } from './storage-options.ts';
import { CONFIG_FIELDS } from './table.ts';
import { YamlReader, type Problem } from './yaml-reader.ts';

type FileValues = Values<typeof CONFIG_FIELDS>;

/** One entry of `lmdbs`. */
export type DatabaseConfig = NonNullable<ReturnType<FileValues['lmdbs']['get']>>;

export type LogConfig = FileValues['log'];
export type HealthConfig = FileValues['health'];
/** The limits of one of `health.storage_list`, `storage_load`, `storage_store`. */
export type TrackerConfig = HealthConfig['storageList'];

/** `storage`, with its options as far as they can be used. */
export type StorageConfig = {
  readonly type: FileValues['storage']['type'];
  readonly cleanup: FileValues['storage']['cleanup'];
  /**
   * Parsed options, or why there are none. Only commands that open the storage mind, as in upstream, so that
   * `dump` works beside a broken `storage`; see {@link requireStorageOptions}.
   */
  readonly options: StorageOptions | SyncError;
};

/**
 * The whole configuration: checked, defaults filled in, durations in milliseconds, sizes in bytes.
 * Every key is described in `config/table.ts`; property names are those of the table.
 */
export type Config = Omit<FileValues, 'instance' | 'storage'> & {
  readonly instance: InstanceId;
  readonly storage: StorageConfig;
};

/** What the command line overrides. */
export type ConfigOverrides = {
  readonly instance?: string | undefined;
  readonly logLevel?: string | undefined;
  readonly logFormat?: string | undefined;
  readonly logTimestamp?: string | undefined;
};

export type ParsedConfig = {
  readonly config: Config;
  /** Things that work but are probably not meant so, one line each. */
  readonly warnings: readonly string[];
};

export type ParseConfigOptions = {
  readonly fileName: string;
  readonly processEnv: Readonly<Record<string, string | undefined>>;
  /** Used where no instance is named. */
  readonly hostname: string;
  readonly overrides?: ConfigOverrides | undefined;
};

/**
 * Reads and checks a configuration file. Errors: CONFIG_INVALID, with file, line and key of every problem.
 */
export function loadConfig(fileName: string, overrides: ConfigOverrides = {}): ParsedConfig {
  let text: string;
  try {
    text = readFileSync(fileName, 'utf8');
  } catch (error) {
    throw new SyncError(
      'CONFIG_INVALID',
      `cannot read configuration ${fileName}: ${errorText(error)}`,
      {
        hint: 'Name the file with --config FILE; docs/configuration.md has an example.',
        cause: error,
      },
    );
  }
  return parseConfig(text, { fileName, processEnv: process.env, hostname: hostname(), overrides });
}

/** The same from text, with everything from outside passed in. */
export function parseConfig(text: string, options: ParseConfigOptions): ParsedConfig {
  const { fileName, overrides = {} } = options;
  const expansion = expandVariables(text, options.processEnv);
  const reader = new YamlReader(expansion.text);
  const values = reader.readRoot(CONFIG_FIELDS);
  const problems = [...reader.problems, ...crossChecks(values, reader)];
  failOn(problems, fileName);

  const warnings = [...expansion.unset].map(
    ([name, line]) =>
      `${fileName}:${line}: $${name} is not set in the environment; nothing is put in its place`,
  );
  const storageResult = readStorageOptions(values.storage, reader, fileName);
  warnings.push(...storageResult.warnings);
  const config: Config = {
    ...values,
    instance: sanitizeInstance(overrides.instance || values.instance || options.hostname),
    log: overrideLog(values.log, overrides),
    storage: {
      type: values.storage.type,
      cleanup: values.storage.cleanup,
      options: storageResult.options,
    },
  };
  return { config, warnings };
}

/** The options of the configured storage. Errors: CONFIG_INVALID where they cannot be used. */
export function requireStorageOptions(storage: StorageConfig): StorageOptions {
  if (storage.options instanceof SyncError) {
    throw storage.options;
  }
  return storage.options;
}

/** Throws all problems as one error: `file:line: message` each. */
function failOn(problems: readonly Problem[], fileName: string): void {
  const [first, ...others] = problems.toSorted((a, b) => a.line - b.line);
  if (first === undefined) {
    return;
  }
  const lines = [first, ...others].map(({ line, message }) => `${fileName}:${line}: ${message}`);
  const hints = [first, ...others].flatMap(({ line, hint }) =>
    hint === undefined ? [] : [others.length === 0 ? hint : `line ${line}: ${hint}`],
  );
  throw new SyncError('CONFIG_INVALID', lines.join('\n'), { hint: hints.join('\n') || undefined });
}

function* crossChecks(values: FileValues, reader: YamlReader): Generator<Problem> {
  if (values.lmdbs.size === 0) {
    yield {
      line: 1,
      message: '`lmdbs` must name at least one database',
      hint: 'Add `lmdbs:` with a name, and under it `path:`.',
    };
  }
  for (const [name, database] of values.lmdbs) {
    if (database.schemaTracksChanges && database.dupsortHack) {
      yield {
        line: reader.lineAt(['lmdbs', name, 'dupsort_hack']),
        message: `\`lmdbs.${name}\` has both \`schema_tracks_changes\` and \`dupsort_hack\``,
        hint: 'Keep the one that fits the schema of the application.',
      };
    }
  }
  for (const { path, ...problem } of afterMergeProblems(values)) {
    yield { line: reader.lineAt(path), ...problem };
  }
  for (const { key, ...problem } of noticeProblems(values.notices, values.storage.type)) {
    yield { line: reader.lineAt(['notices', key]), ...problem };
  }
}

function overrideLog(log: LogConfig, overrides: ConfigOverrides): LogConfig {
  const pick = <K extends keyof LogConfig>(
    property: K,
    flag: string,
    value: string | undefined,
  ) => {
    if (value === undefined || value === '') {
      return log[property];
    }
    try {
      return CONFIG_FIELDS.log.fields[property].parse({ text: value, plain: true }) as LogConfig[K];
    } catch (error) {
      throw new SyncError('CONFIG_INVALID', `${flag} ${errorText(error)}`);
    }
  };
  return {
    level: pick('level', '--log-level', overrides.logLevel),
    format: pick('format', '--log-format', overrides.logFormat),
    timestamp: pick('timestamp', '--log-timestamp', overrides.logTimestamp),
  };
}
