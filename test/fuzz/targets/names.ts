import assert from 'node:assert/strict';
import { dirname, join, resolve } from 'node:path';
import { parseObjectName, formatObjectName } from '../../../protocol/object-name.ts';
import { isStorableName } from '../../../storage/folder/store.ts';
import { refusedOr, words, type FuzzTarget } from '../target.ts';

const NAMES = [
  'main__ns1__20261123-160433-111487891__GX.pb.gz',
  'main__ns-1__20261123-160433-111487891__Gabcdefghijkl__S18446744073709551615.delta.gz',
  'shard__compacted__20261123-160433-111487891__Gabcdefghijkl__S7.base.gz',
  'a__b__20261123-160433-111487891__G1__X__Y.pb.gz',
  'update-marker',
  'main__compacted.manifest.json',
];
const ROOT = resolve('/bucket');

/** Names of objects, as a listing or a notice gives them; and what of them a folder may be asked for. */
export const objectName: FuzzTarget = {
  name: 'object-name',
  maxBytes: 1100,
  seeds: () => words(...NAMES, '../main__a', '.tmp', 'x.tmp', 'a/b', '\0'),
  dictionary: words(
    '__',
    '.pb.gz',
    '.delta.gz',
    '.base.gz',
    '__G',
    '__S',
    '..',
    '/',
    '\\',
    '\0',
    '%2e',
    '.tmp',
  ),
  run(input) {
    for (const encoding of ['latin1', 'utf8'] as const) {
      checkName(Buffer.from(input).toString(encoding));
    }
  },
};

function checkName(name: string): void {
  if (isStorableName(name)) {
    assert.equal(dirname(join(ROOT, name)), ROOT, 'it leaves the folder');
  }
  const parsed = parseObjectName(name);
  if (parsed === undefined) {
    return;
  }
  assert.equal(parsed.name, name);
  assert(!/[/\\\0]/.test(name), 'a path');
  if (!parsed.ours) {
    return;
  }
  const { database, instance, timeNs, generation, seq, kind, extras } = parsed;
  const parts = { database, instance, timeNs, run: generation.slice(1), seq, kind };
  const again = refusedOr(['OBJECT_NAME_INVALID'], () => formatObjectName(parts));
  // What others put behind our parts is not ours to write.
  if (again !== undefined && extras.length === 1) {
    assert.equal(again, name);
  }
}
