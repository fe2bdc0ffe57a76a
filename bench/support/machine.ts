import { execFileSync } from 'node:child_process';
import { cpus, loadavg, release, totalmem, type as systemType } from 'node:os';

/** What the figures were measured on, and with which versions, as lines of a table. */
export function describeMachine(options: {
  readonly version: string;
  readonly peer: string | undefined;
}): Record<string, string> {
  const [cpu] = cpus();
  const { version, peer } = options;
  return {
    processor: `${cpus().length} × ${cpu?.model.trim() ?? 'unknown'}`,
    memory: `${(totalmem() / 1024 ** 3).toFixed(0)} GiB`,
    system: `${systemType()} ${release()}`,
    'load at the start': loadavg()
      .map((load) => load.toFixed(2))
      .join(' '),
    node: process.version,
    lightningstream: version,
    ...(peer === undefined ? {} : { upstream: peerVersion(peer) }),
  };
}

function peerVersion(program: string): string {
  return (
    execFileSync(program, ['version'], { encoding: 'utf8' }).trim().split('\n')[0] ?? 'unknown'
  );
}
