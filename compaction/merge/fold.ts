import { SnapshotCursor, type SnapshotSource, UnsortedInputError } from './cursor.ts';
import { MERGE_FAN_IN } from './limits.ts';
import { type SnapshotFile, type WriteMergedOptions, writeMerged } from './snapshot-file.ts';
import { Sorter } from './sorter.ts';
import { loadInto } from './load.ts';
import { EMPTY_META } from '../../protocol/snapshot.ts';

/** What a fold merges: sorted snapshots, and entries that a sorter holds. */
export type FoldInput = { readonly sources: readonly SnapshotSource[]; readonly sorter: Sorter };

/**
 * Merges all inputs into one snapshot in the scratch store. An input that turns out not to be sorted is sorted
 * first, and the merge begins again. More than {@link MERGE_FAN_IN} inputs are merged in groups.
 *
 * Errors: SNAPSHOT_REJECTED if inputs do not fit each other; STORAGE_FAILED; what `checkTime` throws.
 */
export async function fold(input: FoldInput, options: WriteMergedOptions): Promise<SnapshotFile> {
  const sources = await mergeInGroups([...input.sources, ...input.sorter.runs], options);
  // Every restart has one unsorted input less.
  for (let restarts = sources.length; ; restarts--) {
    try {
      const cursors = sources.map((source) => new SnapshotCursor(source, options.table));
      const held = input.sorter.cursor();
      return await writeMerged(held === undefined ? cursors : [...cursors, held], options);
    } catch (error) {
      if (!(error instanceof UnsortedInputError) || restarts === 0) {
        throw error;
      }
      await replaceBySorted(sources, error.source, options);
    }
  }
}

async function mergeInGroups(
  sources: SnapshotSource[],
  options: WriteMergedOptions,
): Promise<SnapshotSource[]> {
  const { table, scratch, checkTime } = options;
  let rest = sources;
  for (let round = 1; rest.length > MERGE_FAN_IN; round++) {
    // The existing state is the largest input: it is read once, at the end.
    const group = rest.filter((source) => !source.existing).slice(0, MERGE_FAN_IN);
    if (group.length < 2) {
      break;
    }
    const merged = await fold(
      { sources: group, sorter: new Sorter({ table, scratch, checkTime }) },
      { table, scratch, checkTime, meta: EMPTY_META, gzipLevel: 1 },
    );
    const source = {
      name: `merged group ${round}`,
      existing: false,
      open: () => merged.file.open(),
    };
    rest = [...rest.filter((one) => !group.includes(one)), source];
  }
  return rest;
}

async function replaceBySorted(
  sources: SnapshotSource[],
  name: string,
  options: WriteMergedOptions,
): Promise<void> {
  const at = sources.findIndex((source) => source.name === name);
  const unsorted = sources[at];
  if (unsorted === undefined) {
    throw new RangeError(`no input ${name}`);
  }
  const { table, scratch, checkTime } = options;
  const sorter = new Sorter({ table, scratch, checkTime });
  await loadInto(sorter, unsorted, { table, checkTime });
  const sorted = await fold(
    { sources: [], sorter },
    { table, scratch, checkTime, meta: EMPTY_META, gzipLevel: 1 },
  );
  sources[at] = {
    name: `${name}, sorted`,
    existing: unsorted.existing,
    open: () => sorted.file.open(),
  };
}
