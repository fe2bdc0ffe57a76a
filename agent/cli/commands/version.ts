import type { CliDeps } from './context.ts';

/** `version`: the version and nothing else. */
export function printVersion(deps: CliDeps): void {
  deps.stdout.write(`${deps.version}\n`);
}
