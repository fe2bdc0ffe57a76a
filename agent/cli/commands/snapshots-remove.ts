import { withStorage, type CommandContext } from './context.ts';

/** `snapshots remove`: deletes an object; one that is already gone is no error. */
export async function snapshotsRemove(context: CommandContext, name: string): Promise<void> {
  await withStorage(context, (store, signal) => store.delete(name, signal));
}
