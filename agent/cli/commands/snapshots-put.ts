import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { errorText, SyncError } from '../../../protocol/errors.ts';
import { parseObjectName } from '../../../protocol/object-name.ts';
import { Progress } from './progress.ts';
import { withStorage, type CommandContext } from './context.ts';

export type SnapshotsPutFlags = { readonly name: string; readonly force: boolean };

/** `snapshots put`: uploads a file under a name that parses. */
export async function snapshotsPut(
  context: CommandContext,
  file: string,
  flags: SnapshotsPutFlags,
): Promise<void> {
  // The file first: a name that does not parse is often a path that is mistyped.
  const sizeBytes = await fileSize(file);
  const name = flags.name === '' ? basename(file) : flags.name;
  if (parseObjectName(name) === undefined) {
    if (!flags.force) {
      throw new SyncError('OBJECT_NAME_INVALID', `invalid snapshot name ${name}`, {
        hint: 'Give another name with -n, or use --force to skip this check.',
      });
    }
    context.log.warn({ name }, 'Invalid snapshot name forced');
  }
  await withStorage(context, async (store, signal) => {
    using progress = new Progress(context.deps.terminal, {
      label: 'put',
      total: sizeBytes,
      unit: 'bytes',
    });
    // A store that asks for the bytes once more begins anew.
    const open = () => {
      progress.restart();
      return progress.count(createReadStream(file));
    };
    await store.put(name, { sizeBytes, open }, signal);
  });
}

async function fileSize(file: string): Promise<number> {
  try {
    const found = await stat(file);
    if (found.isFile()) {
      return found.size;
    }
  } catch (error) {
    const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    const why = isMissing ? 'there is no such file' : errorText(error);
    throw new SyncError('USAGE', `cannot read ${file}: ${why}`, {
      hint: 'Name a file that this user may read.',
      cause: error,
    });
  }
  throw new SyncError('USAGE', `cannot read ${file}: not a file`);
}
