import fs from 'node:fs';

/** The files of a folder that this process has open, those without a name included. */
export function openSpools(folder: string): string[] {
  return fs.readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const target = fs.readlinkSync(`/proc/self/fd/${fd}`);
      return target.startsWith(folder) && target.includes('.spool') ? [target] : [];
    } catch {
      // Closed meanwhile.
      return [];
    }
  });
}
