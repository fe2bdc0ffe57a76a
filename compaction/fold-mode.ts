import { SyncError } from '../protocol/errors.ts';
import { requireSchemaMode, type SchemaMode } from '../protocol/snapshot-meta.ts';
import { readSnapshotHead } from '../protocol/snapshot-reader.ts';
import { FOLD_MODE_INSTANCES_MAX } from './limits.ts';
import type { DbiTable } from './merge/dbi-table.ts';
import type { StoredObject } from './listing.ts';
import type { TailPlan } from './plan.ts';
import { type CompactOptions, checkTime } from './run-context.ts';

/** Bytes of an object that are read for its Meta. */
const HEAD_BYTES = 64 * 1024;

/**
 * The one schema mode of what a run folds: a base of both would hand values with a header too many, or one too few, to
 * every reader, and what it covers is deleted.
 */
export class FoldMode {
  #known: SchemaMode | undefined;
  readonly #disputed: boolean;

  constructor(known: SchemaMode | undefined, options: { readonly disputed?: boolean } = {}) {
    this.#known = known;
    this.#disputed = options.disputed ?? false;
  }

  /** undefined: nothing that was admitted has stated one. */
  get known(): SchemaMode | undefined {
    return this.#known;
  }

  /** Throws for an object that must be left alone. Errors: SNAPSHOT_OTHER_MODE; SNAPSHOT_REJECTED for `dbis`. */
  admit(stated: string | undefined, dbis: DbiTable): void {
    this.#admitMode(stated);
    // Whoever keeps registers natively takes no such DBI, nor the base that has one.
    const pairs = dbis.idsByName().find((id) => dbis.header(id).transform !== '');
    if (this.#known === 'native' && pairs !== undefined) {
      throw new SyncError(
        'SNAPSHOT_REJECTED',
        `DBI "${dbis.header(pairs).name}" has duplicate values, in native schema mode`,
        { hint: 'Find out what wrote the object, and remove it.' },
      );
    }
  }

  #admitMode(stated: string | undefined): void {
    if (stated === undefined) {
      return;
    }
    if (this.#disputed) {
      throw new SyncError(
        'SNAPSHOT_OTHER_MODE',
        `written in ${stated.slice(0, 40)} schema mode, and as many instances have another one`,
        {
          hint: 'Set `schema_tracks_changes` to what fits the application, the same on all hosts.',
        },
      );
    }
    if (this.#known === undefined && (stated === 'native' || stated === 'shadow')) {
      this.#known = stated;
      return;
    }
    requireSchemaMode(stated, this.#known ?? 'native');
  }
}

/**
 * The mode of the published state. Where that states none, the one that most instances have by their newest objects, so
 * that one host in the wrong mode never decides for all; with a tie nothing that states a mode is folded.
 *
 * Requests: none, or a ranged GET per instance.
 */
export async function chooseFoldMode(
  published: SchemaMode | undefined,
  { run, tail }: { readonly run: CompactOptions; readonly tail: TailPlan },
): Promise<FoldMode> {
  if (published !== undefined) {
    return new FoldMode(published);
  }
  const votes = { native: 0, shadow: 0 };
  for (const object of newestPerInstance(tail)) {
    checkTime(run);
    const stated = await statedMode(object, run);
    if (stated === 'native' || stated === 'shadow') {
      votes[stated] += 1;
    }
  }
  if (votes.native === votes.shadow) {
    return new FoldMode(undefined, { disputed: votes.native > 0 });
  }
  return new FoldMode(votes.native > votes.shadow ? 'native' : 'shadow');
}

function newestPerInstance({ snapshots, deltas }: TailPlan): StoredObject[] {
  const newest = new Map<string, StoredObject>();
  for (const object of [...snapshots, ...deltas]) {
    const known = newest.get(object.instance);
    if (object.ours && (known === undefined || known.timeNs < object.timeNs)) {
      newest.set(object.instance, object);
    }
  }
  return [...newest.values()].slice(0, FOLD_MODE_INSTANCES_MAX);
}

/** undefined: it states none, or cannot be read; whoever reads the whole of it will say why. */
async function statedMode(
  { name }: StoredObject,
  { store, signal }: CompactOptions,
): Promise<string | undefined> {
  try {
    const got = await store.get(name, { signal, firstBytes: HEAD_BYTES });
    return got === undefined ? undefined : (await readSnapshotHead(got.body)).meta.schemaMode;
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof SyncError) {
      return undefined;
    }
    throw error;
  }
}
