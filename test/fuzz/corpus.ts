import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const FOLDER = join(process.cwd(), 'test/fuzz/corpus');

/** The stored inputs of a target. */
export function readCorpus(target: string): Uint8Array[] {
  const folder = join(FOLDER, target);
  if (!existsSync(folder)) {
    return [];
  }
  return readdirSync(folder)
    .toSorted()
    .map((file) => readFileSync(join(folder, file)));
}

/** Replaces the stored inputs of a target. */
export function writeCorpus(target: string, inputs: readonly Uint8Array[]): void {
  const folder = join(FOLDER, target);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const input of inputs) {
    writeFileSync(join(folder, inputName(input)), input);
  }
}

/** A name for an input, by its content. */
export function inputName(input: Uint8Array): string {
  return createHash('sha256').update(input).digest('hex').slice(0, 16);
}
