import { Environment } from '../../agent/lmdb/environment.ts';

const plans = new Map<string, () => void>();
type AnyWrite = (this: Environment, work: unknown) => { readonly txnId: number | undefined };

let installed = false;

/** `work` runs whenever an agent waits for the write lock of this LMDB, right before it wins it. */
export function beforeLocks(dataPath: string, work: () => void): void {
  install();
  plans.set(dataPath, work);
}

/** Nobody comes between any more. */
export function clearBeforeLocks(): void {
  plans.clear();
}

function install(): void {
  if (installed) {
    return;
  }
  installed = true;
  const { write } = Environment.prototype as { write: AnyWrite };
  Environment.prototype.write = function writeBehindOthers(this: Environment, work) {
    plans.get(this.dataPath)?.();
    return write.call(this, work) as never;
  };
}
