/**
 * Says what a test has measured, where no number can be asserted: in a line of its own, which `.ci/run` prints also
 * when all is well.
 */
export function reportFigure(text: string): void {
  process.stdout.write(`measured: ${text}\n`);
}
