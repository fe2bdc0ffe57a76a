// A process that has a scratch folder open until it is killed. Tells its parent when a file in it is written.
import { ScratchFolder } from '../../../compaction/scratch/scratch-folder.ts';

async function main(): Promise<void> {
  const folder = await ScratchFolder.open(process.argv[2] ?? '');
  const file = await folder.create();
  await file.write(Buffer.from('bytes'));
  await file.finish();
  // Stays.
  setInterval(() => {}, 60_000);
  process.send?.('written');
}

void main();
