import { parseObjectName } from '../../../protocol/object-name.ts';
import type { ObjectInfo } from '../../../storage/object-store.ts';
import { withStorage, type CommandContext } from './context.ts';

export type SnapshotsListFlags = {
  readonly prefix: string;
  readonly long: boolean;
  readonly time: boolean;
  readonly json: boolean;
};

/** `snapshots list`: the names in the storage. */
export async function snapshotsList(
  context: CommandContext,
  flags: SnapshotsListFlags,
): Promise<void> {
  await withStorage(context, async (store, signal) => {
    const listing = store.list(flags.prefix, { signal });
    if (flags.time) {
      const all: ObjectInfo[] = [];
      for await (const info of listing) {
        all.push(info);
      }
      sortByTime(all).forEach((info) => context.out.write(line(info, flags)));
      return;
    }
    for await (const info of listing) {
      context.out.write(line(info, flags));
      if (context.out.isFull) {
        await context.out.drain();
      }
    }
  });
}

function line(info: ObjectInfo, flags: SnapshotsListFlags): string {
  if (flags.json) {
    const parsed = parseObjectName(info.name);
    return `${JSON.stringify({
      name: info.name,
      size: info.sizeBytes,
      last_modified: new Date(info.lastModifiedMs).toISOString(),
      ...(parsed === undefined
        ? {}
        : {
            kind: parsed.kind,
            database: parsed.database,
            instance: parsed.instance,
            time_ns: parsed.timeNs.toString(),
          }),
    })}\n`;
  }
  return flags.long ? `${String(info.sizeBytes).padStart(12)}\t${info.name}\n` : `${info.name}\n`;
}

/** Names that do not parse come first, by name; the others by their time. */
function sortByTime(objects: readonly ObjectInfo[]): ObjectInfo[] {
  return objects
    .map((info) => ({ info, timeNs: parseObjectName(info.name)?.timeNs ?? -1n }))
    .toSorted((a, b) => {
      if (a.timeNs !== b.timeNs) {
        return a.timeNs < b.timeNs ? -1 : 1;
      }
      return a.info.name < b.info.name ? -1 : 1;
    })
    .map(({ info }) => info);
}
