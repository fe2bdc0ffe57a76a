import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openS3Client } from '../../../storage/s3/client.ts';

const before = { ...process.env };
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'region-'));
  delete process.env['AWS_REGION'];
  delete process.env['AWS_DEFAULT_REGION'];
  delete process.env['AWS_PROFILE'];
  process.env['AWS_CONFIG_FILE'] = join(folder, 'config');
  process.env['AWS_SHARED_CREDENTIALS_FILE'] = join(folder, 'credentials');
});

afterEach(() => {
  process.env = { ...before };
  rmSync(folder, { recursive: true, force: true });
});

async function regionOf(options: { region?: string; endpointUrl?: string } = {}): Promise<string> {
  const { client, close } = await openS3Client({ bucket: 'b', ...options });
  try {
    return await client.config.region();
  } finally {
    close();
  }
}

test('the environment says which region it is', async () => {
  process.env['AWS_REGION'] = 'eu-central-1';
  expect(await regionOf()).toBe('eu-central-1');
  expect(await regionOf({ endpointUrl: 'https://s3.amazonaws.com' })).toBe('eu-central-1');
  expect(
    await regionOf({ endpointUrl: 'https://bucket.vpce-1.s3.eu-central-1.vpce.amazonaws.com' }),
  ).toBe('eu-central-1');
});

test('so does the profile', async () => {
  writeFileSync(join(folder, 'config'), '[default]\nregion = cn-north-1\n');
  expect(await regionOf()).toBe('cn-north-1');
});

test('the configuration counts more, and without any it is us-east-1', async () => {
  expect(await regionOf()).toBe('us-east-1');
  process.env['AWS_REGION'] = 'eu-central-1';
  expect(await regionOf({ region: 'ap-southeast-2' })).toBe('ap-southeast-2');
});

test('a server elsewhere is not told the region of AWS', async () => {
  process.env['AWS_REGION'] = 'eu-central-1';
  expect(await regionOf({ endpointUrl: 'https://minio.example.com' })).toBe('us-east-1');
  expect(await regionOf({ endpointUrl: 'https://amazonaws.com.example' })).toBe('us-east-1');
});
