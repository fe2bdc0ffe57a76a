import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { S3StoreOptions } from '../../storage/s3/options.ts';
import { openS3Store } from '../../storage/s3/store.ts';
import { freePort } from '../../demo/free-port.ts';
import { objectStoreConformance } from '../support/object-store-conformance.ts';

jest.setTimeout(120_000);

const ACCESS_KEY = 'minioadmin';
const SECRET_KEY = 'minioadmin';

/** MinIO's binary: the path in MINIO, else one in PATH or where `go install` puts it. */
function findMinio(): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), join(homedir(), 'go/bin')];
  const places = [process.env['MINIO'] ?? '', ...folders.map((folder) => join(folder, 'minio'))];
  return places.find((place) => place !== '' && existsSync(place));
}

const program = findMinio();
// A second opinion on S3's semantics, where its binary can be had; MiniStack's tests run everywhere.
const describeWithServer = program === undefined ? describe.skip : describe;
let server: { process: ChildProcess; folder: string; endpoint: string } | undefined;

beforeAll(async () => {
  if (program === undefined) {
    return;
  }
  const folder = await mkdtemp(join(tmpdir(), 'minio-test-'));
  const address = `127.0.0.1:${await freePort()}`;
  const child = spawn(program, ['server', '--quiet', '--address', address, folder], {
    stdio: 'ignore',
    env: { ...process.env, MINIO_ROOT_USER: ACCESS_KEY, MINIO_ROOT_PASSWORD: SECRET_KEY },
  });
  const endpoint = `http://${address}`;
  server = { process: child, folder, endpoint };
  for (let attempt = 0; attempt < 300; attempt += 1) {
    if (
      await fetch(`${endpoint}/minio/health/ready`).then(
        ({ ok }) => ok,
        () => false,
      )
    ) {
      return;
    }
    await sleep(100);
  }
  throw new Error(`${program} did not get ready on ${endpoint}`);
});

afterAll(async () => {
  if (server === undefined) {
    return;
  }
  if (server.process.exitCode === null) {
    server.process.kill();
    await once(server.process, 'exit');
  }
  await rm(server.folder, { recursive: true, force: true });
});

describeWithServer('S3 store on MinIO', () => {
  let options: S3StoreOptions;
  objectStoreConformance({
    open: async (hooks) => {
      options = {
        endpointUrl: server?.endpoint ?? '',
        accessKey: ACCESS_KEY,
        secretKey: SECRET_KEY,
        bucket: `bucket-${randomUUID()}`,
        createBucket: true,
        globalPrefix: 'some/prefix-',
        ...hooks,
      };
      return openS3Store(options);
    },
    openSame: () => openS3Store({ ...options, onRequest: undefined }),
  });
});
