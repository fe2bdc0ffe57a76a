import type { Config } from './config.ts';
import { SyncError } from '../../protocol/errors.ts';
import type { AnyField, Fields, Leaf } from './fields.ts';
import { AZURE_FIELDS, FS_FIELDS, S3_FIELDS } from './storage-table.ts';
import { CONFIG_FIELDS } from './table.ts';

const MASK = '***';
const INDENT = '  ';

/**
 * The effective configuration as YAML, as it could stand in the file: defaults filled in, overrides applied.
 *
 * Values of keys that are secret are shown as `***`: the secret key as upstream does, and here the access key,
 * the account key and an inline TLS key too.
 */
export function formatEffectiveConfig(config: Config): string {
  return formatFields(CONFIG_FIELDS, config, { indent: '', config }).join('\n');
}

type At = { readonly indent: string; readonly config: Config };

function formatFields(fields: Fields, values: unknown, at: At): string[] {
  const lines: string[] = [];
  for (const [property, field] of Object.entries(fields)) {
    const value = (values as Readonly<Record<string, unknown>>)[property];
    lines.push(...formatField(field, value, at));
  }
  return lines;
}

function formatField(field: AnyField, value: unknown, at: At): string[] {
  const inner = { ...at, indent: at.indent + INDENT };
  const head = `${at.indent}${field.key}:`;
  switch (field.node) {
    case 'leaf':
      return value === undefined ? [] : [`${head} ${formatLeaf(field as Leaf<unknown>, value)}`];
    case 'section':
      return [head, ...formatFields(field.fields as Fields, value, inner)];
    case 'list': {
      const items = value as readonly string[];
      return [`${head} [${items.map((item) => JSON.stringify(item)).join(', ')}]`];
    }
    case 'deferred':
      return formatStorageOptions(head, inner);
    case 'map': {
      const items = value as ReadonlyMap<string, unknown>;
      const deeper = { ...at, indent: inner.indent + INDENT };
      const lines = [...items].flatMap(([name, item]) => [
        `${inner.indent}${quote(name)}:`,
        ...formatFields(field.fields as Fields, item, deeper),
      ]);
      return lines.length === 0 ? [] : [head, ...lines];
    }
    default:
      return field satisfies never;
  }
}

function formatStorageOptions(head: string, at: At): string[] {
  const { options } = at.config.storage;
  if (options instanceof SyncError) {
    return [`${head} # cannot be used: ${options.message.replaceAll('\n', '; ')}`];
  }
  switch (options.type) {
    case 'fs':
      return [head, ...formatFields(FS_FIELDS, options, at)];
    case 's3':
      return [head, ...formatFields(S3_FIELDS, options, at)];
    case 'azure':
      return [head, ...formatFields(AZURE_FIELDS, options, at)];
    case 'memory':
      return [];
    default:
      return options satisfies never;
  }
}

function formatLeaf(field: Leaf<unknown>, value: unknown): string {
  if (field.secret && value !== '') {
    return `'${MASK}'`;
  }
  const text = field.format(value);
  return field.type === 'string' || field.type === 'host:port' || text === '' ? quote(text) : text;
}

/** Text that YAML would not read back as the same text is quoted. */
function quote(text: string): string {
  return /^[a-zA-Z/][a-zA-Z0-9._/-]*$/.test(text) &&
    !/^(y|n|yes|no|on|off|true|false|null)$/i.test(text)
    ? text
    : JSON.stringify(text);
}
