import { Environment } from '../../agent/lmdb/environment.ts';

type Plan = { left: number; crashed: boolean; readonly onCrash: () => void };

const plans = new Map<string, Plan>();
type AnyWrite = (this: Environment, work: unknown) => { readonly txnId: number | undefined };

let installed = false;

/** What happens instead of everything behind the point at which the process ended. */
class Crashed extends Error {}

/**
 * The process that has this LMDB open ends right after its `count`-th commit from now on: whatever it was doing is left
 * at that, with nothing behind it written, until {@link clearCrashPoint}.
 */
export function crashAfterCommits(dataPath: string, count: number, onCrash: () => void): void {
  install();
  plans.set(dataPath, { left: count, crashed: false, onCrash });
}

/** The LMDB is another process's again. */
export function clearCrashPoint(dataPath: string): void {
  plans.delete(dataPath);
}

function install(): void {
  if (installed) {
    return;
  }
  installed = true;
  const { write } = Environment.prototype as { write: AnyWrite };
  Environment.prototype.write = function writeUntilCrash(this: Environment, work) {
    const plan = plans.get(this.dataPath);
    if (plan?.crashed === true) {
      throw new Crashed('the process has ended');
    }
    const outcome = write.call(this, work);
    if (plan !== undefined && outcome.txnId !== undefined) {
      plan.left -= 1;
      if (plan.left <= 0) {
        plan.crashed = true;
        plan.onCrash();
        throw new Crashed('the process has ended');
      }
    }
    return outcome as never;
  };
}
