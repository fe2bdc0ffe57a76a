import { statSync } from 'node:fs';
import { dataPathOf } from './data-path.ts';
import { Environment, type EnvironmentOptions } from './environment.ts';
import { requireWhole } from './file-watch.ts';

/** Opens the file that comes to the path of one that we had open: nothing is created, nor a file opened half copied. */
export class ComingFile {
  /** What the last try found. */
  #sizeBefore: number | undefined;

  /** Errors besides those of `Environment.open`: ENVIRONMENT_UNREADABLE, retryable, while the file is not whole. */
  readonly open = (options: EnvironmentOptions): Environment => {
    const path = dataPathOf(options);
    const sizeBefore = this.#sizeBefore;
    this.#sizeBefore = statSync(path, { throwIfNoEntry: false })?.size;
    requireWhole(path, sizeBefore);
    return Environment.open({ ...options, create: false });
  };
}
