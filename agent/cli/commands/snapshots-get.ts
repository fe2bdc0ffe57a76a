import { createWriteStream } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { basename } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { errorText, isAbortError, SyncError } from '../../../protocol/errors.ts';
import { Progress } from './progress.ts';
import { withStorage, type CommandContext } from './context.ts';

/** `snapshots get`: downloads an object. The file appears complete or not at all. */
export async function snapshotsGet(
  context: CommandContext,
  name: string,
  flags: { readonly output: string },
): Promise<void> {
  // A name with a folder in it does not decide where a file lands here.
  const output = flags.output === '' ? basename(name) : flags.output;
  await withStorage(context, async (store, signal) => {
    const found = await store.get(name, { signal });
    if (found === undefined) {
      throw missingObject(name);
    }
    const partial = `${output}.${context.deps.pid}.part`;
    try {
      const total = found.sizeBytes;
      using progress = new Progress(context.deps.terminal, { label: 'get', total, unit: 'bytes' });
      await pipeline(progress.count(found.body), createWriteStream(partial), { signal });
      await rename(partial, output);
    } catch (error) {
      await rm(partial, { force: true });
      if (error instanceof SyncError || isAbortError(error)) {
        throw error;
      }
      throw new SyncError('USAGE', `cannot write ${output}: ${errorText(error)}`, { cause: error });
    }
  });
}

/** The error of a name that the storage does not have. */
export function missingObject(name: string): SyncError {
  return new SyncError('USAGE', `the storage has no object ${name}`, {
    hint: 'See "snapshots list" for the names there are.',
  });
}
