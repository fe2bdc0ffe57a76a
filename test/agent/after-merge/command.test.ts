import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCommand } from '../../../agent/after-merge/command.ts';

const folder = mkdtempSync(join(tmpdir(), 'after-merge-'));
afterAll(() => rmSync(folder, { recursive: true }));
const changes = new Map([
  ['main', 'many' as const],
  ['shard', 'many' as const],
]);
const soon = () => AbortSignal.timeout(20_000);

test('a command gets its arguments as they are, and the databases', async () => {
  const file = join(folder, 'out');
  const script = 'printf "%s|%s" "$1" "$LIGHTNINGSTREAM_DATABASES" > "$0"';
  await runCommand(['sh', '-c', script, file, 'a b $HOME'], changes, soon());
  expect(readFileSync(file, 'utf8')).toBe('a b $HOME|main shard');
});

test('a command that fails says why, one that is missing or hangs, too', async () => {
  await expect(
    runCommand(['sh', '-c', 'echo first >&2; echo reason >&2; exit 3'], changes, soon()),
  ).rejects.toThrow('sh ended with exit code 3: reason');
  await expect(runCommand([join(folder, 'none')], changes, soon())).rejects.toThrow('cannot run');
  await expect(
    runCommand(['sh', '-c', 'sleep 600 & wait'], changes, AbortSignal.timeout(50)),
  ).rejects.toThrow('took too long');
});
