// Writes an LMDB as fast as it can, as an application in a process of its own.
// node lmdb-writer.cjs PATH TRANSACTIONS SEED
const { open } = require('lmdb');

const [path, transactions, seed] = [
  process.argv[2],
  Number(process.argv[3]),
  Number(process.argv[4]),
];
const binary = { keyEncoding: 'binary', encoding: 'binary', cache: false };
const env = open({
  path,
  noSubdir: true,
  ...binary,
  overlappingSync: false,
  noSync: true,
  maxDbs: 16,
  mapSize: 4 * 1024 ** 3,
});
const plain = env.openDB({ name: 'plain', ...binary });
const wide = env.openDB({ name: 'wide', ...binary });
const dup = env.openDB({ name: 'dup', ...binary, dupSort: true });

let state = seed;
function random(below) {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * below);
}

function bytes(length) {
  return Buffer.alloc(length, random(256));
}

for (let i = 0; i < transactions; i += 1) {
  env.transactionSync(() => {
    for (let left = 1 + random(4); left > 0; left -= 1) {
      const key = Buffer.from(`key-${random(3000)}`);
      const dice = random(100);
      if (dice < 60) {
        plain.putSync(key, bytes(random(100)));
      } else if (dice < 75) {
        plain.removeSync(key);
      } else if (dice < 80) {
        wide.putSync(Buffer.from(`w${random(40)}`), bytes(random(12000)));
      } else if (dice < 92) {
        dup.putSync(Buffer.from(`d${random(12)}`), Buffer.from(String(random(4000))));
      } else {
        dup.removeSync(Buffer.from(`d${random(12)}`));
      }
    }
  });
}
void env.close();
