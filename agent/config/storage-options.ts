import { SyncError } from '../../protocol/errors.ts';
import type { Fields, Values } from './fields.ts';
import {
  AZURE_FIELDS,
  FS_FIELDS,
  S3_FIELDS,
  type AzureOptions,
  type FsOptions,
  type S3Options,
} from './storage-table.ts';
import type { Problem, YamlReader } from './yaml-reader.ts';

/** The storage and its options, by type. */
export type StorageOptions =
  | ({ readonly type: 'fs' } & FsOptions)
  | ({ readonly type: 's3' } & S3Options)
  | ({ readonly type: 'azure' } & AzureOptions)
  | { readonly type: 'memory' };

type StorageSection = {
  readonly type: '' | 'fs' | 's3' | 'azure' | 'memory';
  readonly options: unknown;
  readonly rootPath: string;
};

type Result = {
  readonly options: StorageOptions | SyncError;
  readonly warnings: readonly string[];
};

/** Parses `storage.options` as strictly as the rest; what is wrong is returned, not thrown. */
export function readStorageOptions(
  storage: StorageSection,
  reader: YamlReader,
  fileName: string,
): Result {
  const warnings: string[] = [];
  const before = reader.problems.length;
  const read = <F extends Fields>(fields: F): Values<F> =>
    reader.read(fields, storage.options, {
      path: 'storage.options',
      line: reader.lineOf(storage.options),
    });
  const outcome = (options: StorageOptions, problems: readonly Problem[] = []): Result => {
    const found = [...reader.problems.slice(before), ...problems];
    const [first] = found;
    return { options: first === undefined ? options : problemError(found, fileName), warnings };
  };
  if (storage.type === 's3') {
    const options = read(S3_FIELDS);
    return outcome({ type: 's3', ...options }, checkS3(options, reader.lineOf(storage.options)));
  }
  if (storage.type === 'fs') {
    if (storage.rootPath !== '') {
      warnings.push(
        `${fileName}: \`storage.root_path\` is deprecated; move it to \`storage.options.root_path\``,
      );
      if (storage.options === undefined) {
        return { options: { type: 'fs', rootPath: storage.rootPath }, warnings };
      }
    }
    return outcome({ type: 'fs', ...read(FS_FIELDS) });
  }
  if (storage.type === 'memory') {
    return { options: { type: 'memory' }, warnings };
  }
  if (storage.type === 'azure') {
    const options = read(AZURE_FIELDS);
    const line = reader.lineOf(storage.options);
    return outcome({ type: 'azure', ...options }, checkAzure(options, line));
  }
  const missing = new SyncError('CONFIG_INVALID', `${fileName}: \`storage.type\` is missing`, {
    hint: 'Set it to fs, s3 or azure, and `storage.options` to match.',
  });
  return { options: missing, warnings };
}

function problemError(problems: readonly Problem[], fileName: string): SyncError {
  const lines = problems.map(({ line, message }) => `${fileName}:${line}: ${message}`);
  const hints = problems.flatMap(({ hint }) => (hint === undefined ? [] : [hint]));
  return new SyncError('CONFIG_INVALID', lines.join('\n'), {
    hint: [...new Set(hints)].join('\n') || undefined,
  });
}

function* s3Problems(options: S3Options): Generator<Omit<Problem, 'line'>> {
  if ((options.accessKey === '') !== (options.secretKey === '')) {
    yield {
      message: '`storage.options` has only one of `access_key` and `secret_key`',
      hint: 'Give both, or neither for the credential chain of the AWS SDK.',
    };
  }
  if ((options.accessKeyFile === '') !== (options.secretKeyFile === '')) {
    yield {
      message: '`storage.options` has only one of `access_key_file` and `secret_key_file`',
      hint: 'Give both, or neither.',
    };
  }
  if (options.accessKeyFile !== '' && options.secretsRefreshIntervalMs < 1000) {
    yield { message: '`storage.options.secrets_refresh_interval` must be 1s or more' };
  }
  if (!/^https?:\/\/[^/]/.test(options.endpointUrl)) {
    yield {
      message: `\`storage.options.endpoint_url\` must begin with http:// or https://, not ${JSON.stringify(options.endpointUrl)}`,
    };
  }
}

function checkS3(options: S3Options, line: number): Problem[] {
  return [...s3Problems(options)].map((problem) => ({ ...problem, line }));
}

function* azureProblems(options: AzureOptions): Generator<Omit<Problem, 'line'>> {
  const { accountName, accountKey, accountKeyFile, endpointUrl, useSharedKey } = options;
  if (accountName === '' && (endpointUrl === '' || useSharedKey)) {
    yield { message: '`storage.options.account_name` is missing' };
  }
  if (useSharedKey && accountKey === '' && accountKeyFile === '') {
    yield {
      message: '`storage.options` has `use_shared_key`, but no `account_key` or `account_key_file`',
      hint: 'Give one of them, or leave out `use_shared_key` for the credential chain of the Azure SDK.',
    };
  }
  if (accountKeyFile !== '' && options.secretsRefreshIntervalMs < 1000) {
    yield { message: '`storage.options.secrets_refresh_interval` must be 1s or more' };
  }
  if (endpointUrl !== '' && !/^https?:\/\/[^/]/.test(endpointUrl)) {
    // Without the value: its query may be a SAS.
    yield { message: '`storage.options.endpoint_url` must begin with http:// or https://' };
  }
}

function checkAzure(options: AzureOptions, line: number): Problem[] {
  return [...azureProblems(options)].map((problem) => ({ ...problem, line }));
}
