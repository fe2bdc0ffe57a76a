import type { Scratch, ScratchFile } from './scratch.ts';

/** The scratch space of one step of a run: all its files go together when the step ends. */
export class StepScratch implements Scratch {
  readonly #scratch: Scratch;
  readonly #files: ScratchFile[] = [];

  constructor(scratch: Scratch) {
    this.#scratch = scratch;
  }

  async create(): Promise<ScratchFile> {
    const file = await this.#scratch.create();
    this.#files.push(file);
    return file;
  }

  freeBytes(): Promise<number> {
    return this.#scratch.freeBytes();
  }

  /** Removes the files that were made here since the last call. */
  async clear(): Promise<void> {
    for (const file of this.#files.splice(0)) {
      await file.remove();
    }
  }
}
