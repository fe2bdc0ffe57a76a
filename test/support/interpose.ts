import { Environment } from '../../agent/lmdb/environment.ts';

/** Lets `work` run right before the call of this number from now on; `jest.restoreAllMocks` ends it. */
export function before(method: 'write' | 'beginRead', call: number, work: () => void): void {
  const original = Environment.prototype[method] as (...args: unknown[]) => unknown;
  let calls = 0;
  jest.spyOn(Environment.prototype, method).mockImplementation(function interposed(
    this: Environment,
    ...args: unknown[]
  ) {
    calls += 1;
    if (calls === call) {
      work();
    }
    return original.apply(this, args) as never;
  });
}
