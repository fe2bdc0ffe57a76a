import { readFileSync } from 'node:fs';

/** The most memory that this process has had resident, in MB. */
export function highWaterMb(): number {
  const kb = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
  return (Number(kb) * 1024) / 1e6;
}
