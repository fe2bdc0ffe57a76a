import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import makeBundle from '../support/bundle-setup.cjs';
import { findMiniStack } from '../support/aws/ministack.ts';

const root = join(__dirname, '../..');
const describeWithServer = findMiniStack() === undefined ? describe.skip : describe;

describeWithServer('npm run demo -- --aws', () => {
  test('goes the steps of the plain demo, and nobody lists but who joins', async () => {
    makeBundle();
    const { stdout } = await promisify(execFile)(
      'npm',
      ['run', '--silent', 'demo', '--', '--aws'],
      {
        cwd: root,
        timeout: 150_000,
      },
    );
    const rows = stdout
      .slice(stdout.indexOf('\nstep '))
      .split('\n')
      .map((line) => line.split(/\s{2,}/).map((cell) => cell.trim()));
    const [, heading = [], , ...steps] = rows;
    const listColumn = heading.indexOf('LIST');
    const getColumn = heading.indexOf('GET');
    const byStep = new Map(steps.map((cells) => [cells[0], cells]));
    const lists = [...byStep].filter(([, cells]) => Number(cells[listColumn]) > 0);
    expect(lists.map(([step]) => step)).toEqual(['C joins', 'D joins']);
    expect([...byStep.keys()]).toEqual(
      expect.arrayContaining(['write in A', 'bulk in A', 'idle', 'compaction', 'write in D']),
    );
    // The compacted base, and nothing else.
    expect(byStep.get('D joins')?.[getColumn]).toBe('1');
  }, 240_000);
});
