import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KeyReload } from '../../../storage/http/key-reload.ts';
import { openS3Store } from '../../../storage/s3/store.ts';
import { startAnsweringServer } from '../../support/servers/answering-server.ts';
import { configuredCredentials, type Keys } from '../../../storage/s3/credentials.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'credentials-'));
});
afterEach(() => rm(folder, { recursive: true }));

function provider(credentials: ReturnType<typeof configuredCredentials>): () => Promise<Keys> {
  if (typeof credentials !== 'function') {
    throw new Error('fixed keys, which nothing can change');
  }
  return credentials;
}

test('a reload replaces keys that stand in the configuration', async () => {
  const keyReload = new KeyReload();
  const options = { accessKey: 'A', secretKey: 'S', keyReload };
  const keys = provider(configuredCredentials(options, () => 1000));
  expect(await keys()).toMatchObject({ accessKeyId: 'A', secretAccessKey: 'S' });
  keyReload.reload({ accessKey: 'B', secretKey: 'T' });
  expect(await keys()).toMatchObject({ accessKeyId: 'B', secretAccessKey: 'T' });
});

test('a reload reads key files before their interval is over', async () => {
  const keyReload = new KeyReload();
  const files = { accessKeyFile: join(folder, 'key'), secretKeyFile: join(folder, 'secret') };
  await writeFile(files.accessKeyFile, 'A');
  await writeFile(files.secretKeyFile, 'S');
  const keys = provider(configuredCredentials({ ...files, keyReload }, () => 1000));
  expect(await keys()).toMatchObject({ accessKeyId: 'A', secretAccessKey: 'S' });
  await writeFile(files.secretKeyFile, 'T');
  expect(await keys()).toMatchObject({ secretAccessKey: 'S' });
  keyReload.reload(files);
  expect(await keys()).toMatchObject({ secretAccessKey: 'T' });
  // A rotation that has just removed it: the key from before, which may still be good.
  await rm(files.secretKeyFile);
  keyReload.reload(files);
  expect(await keys()).toMatchObject({ secretAccessKey: 'T' });
});

test('the requests after a reload are signed with the new key', async () => {
  const server = await startAnsweringServer((_request, response) => {
    response.end('<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>');
  });
  const keyReload = new KeyReload();
  const options = { bucket: 'b', accessKey: 'FIRST', secretKey: 'S', keyReload };
  const { signal } = new AbortController();
  const store = await openS3Store({ ...options, endpointUrl: server.url }, signal);
  try {
    for (const accessKey of ['FIRST', 'SECOND']) {
      keyReload.reload({ accessKey, secretKey: 'S' });
      for await (const _info of store.list('', { signal })) {
        // Nothing is stored.
      }
    }
    const signers = server.seen.map(
      ({ headers }) => /Credential=(\w+)/.exec(headers.authorization ?? '')?.[1],
    );
    expect(signers).toEqual(['FIRST', 'SECOND']);
  } finally {
    await store.close();
    await server.stop();
  }
});
