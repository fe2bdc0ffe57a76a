import { SyncError } from '../../protocol/errors.ts';
import type { Config } from './config.ts';
import type { AnyField, Fields, Leaf } from './fields.ts';
import { AZURE_FIELDS, FS_FIELDS, S3_FIELDS } from './storage-table.ts';
import { CONFIG_FIELDS } from './table.ts';

const STORAGE_FIELDS = { fs: FS_FIELDS, s3: S3_FIELDS, azure: AZURE_FIELDS, memory: {} } as const;

/**
 * The keys whose values differ, as `log.level` or `lmdbs.main.path`, in the order of the table. A database or hook
 * that only one of them has is one key. Values are never part of it: they may be secret.
 */
export function changedKeys(before: Config, after: Config): string[] {
  return [...changed(CONFIG_FIELDS, '', { before, after, configs: { before, after } })];
}

type Sides = {
  readonly before: unknown;
  readonly after: unknown;
  readonly configs: { readonly before: Config; readonly after: Config };
};

function* changed(fields: Fields, prefix: string, sides: Sides): Generator<string> {
  for (const [property, field] of Object.entries(fields)) {
    const before = (sides.before as Readonly<Record<string, unknown>>)[property];
    const after = (sides.after as Readonly<Record<string, unknown>>)[property];
    yield* changedField(field, `${prefix}${field.key}`, { ...sides, before, after });
  }
}

function* changedField(field: AnyField, key: string, sides: Sides): Generator<string> {
  const { before, after } = sides;
  switch (field.node) {
    case 'leaf':
      yield* asText(field, before) === asText(field, after) ? [] : [key];
      return;
    case 'list':
      yield* JSON.stringify(before) === JSON.stringify(after) ? [] : [key];
      return;
    case 'section':
      yield* changed(field.fields as Fields, `${key}.`, sides);
      return;
    case 'map':
      yield* changedItems(field.fields as Fields, key, sides);
      return;
    case 'deferred':
      yield* changedStorage(key, sides);
      return;
    default:
      field satisfies never;
  }
}

function asText(field: Leaf<unknown>, value: unknown): string | undefined {
  return value === undefined ? undefined : field.format(value);
}

function* changedItems(fields: Fields, key: string, sides: Sides): Generator<string> {
  const before = sides.before as ReadonlyMap<string, unknown>;
  const after = sides.after as ReadonlyMap<string, unknown>;
  for (const name of new Set([...before.keys(), ...after.keys()])) {
    if (before.has(name) && after.has(name)) {
      const items = { ...sides, before: before.get(name), after: after.get(name) };
      yield* changed(fields, `${key}.${name}.`, items);
    } else {
      yield `${key}.${name}`;
    }
  }
}

function* changedStorage(key: string, { configs }: Sides): Generator<string> {
  const before = configs.before.storage.options;
  const after = configs.after.storage.options;
  if (before instanceof SyncError || after instanceof SyncError || before.type !== after.type) {
    const isSame =
      before instanceof SyncError && after instanceof SyncError && before.message === after.message;
    yield* isSame ? [] : [key];
    return;
  }
  yield* changed(STORAGE_FIELDS[before.type], `${key}.`, { before, after, configs });
}
