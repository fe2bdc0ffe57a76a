import { PassThrough } from 'node:stream';
import { Progress, type ProgressTerminal } from '../../../../agent/cli/commands/progress.ts';

/** A terminal, or a pipe, that keeps what is written to it. */
function sink(isTTY: boolean): { terminal: ProgressTerminal; text: () => string } {
  const stream = new PassThrough();
  let text = '';
  stream.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const terminal = Object.assign(stream, {
    isTTY,
    columns: 100,
    cursorTo: () => true,
    clearLine: () => true,
    moveCursor: () => true,
  });
  return { terminal, text: () => text };
}

async function* chunks(...sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  for (const size of sizes) {
    yield new Uint8Array(size);
  }
}

async function passThrough(terminal: ProgressTerminal | undefined, shownAfterMs: number) {
  using progress = new Progress(terminal, {
    label: 'get',
    total: 2048,
    unit: 'bytes',
    shownAfterMs,
  });
  let bytes = 0;
  for await (const chunk of progress.count(chunks(1024, 1024))) {
    bytes += chunk.length;
  }
  return bytes;
}

test('on a terminal what takes long has a bar with its unit; every byte passes', async () => {
  const { terminal, text } = sink(true);
  expect(await passThrough(terminal, 0)).toBe(2048);
  expect(text()).toContain('get ');
  expect(text()).toContain('1024 B of 2.0 KB');
});

test('what is soon done has none', async () => {
  const { terminal, text } = sink(true);
  expect(await passThrough(terminal, 3_600_000)).toBe(2048);
  expect(text()).toBe('');
});

test('a pipe gets nothing', async () => {
  const { terminal, text } = sink(false);
  expect(await passThrough(terminal, 0)).toBe(2048);
  expect(await passThrough(undefined, 0)).toBe(2048);
  expect(text()).toBe('');
});
