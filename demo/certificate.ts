import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Makes a key and a self-signed certificate for a name and 127.0.0.1 in a folder; both are PEM files. */
export async function makeCertificate(
  folder: string,
  name = 'localhost',
): Promise<{ certFile: string; keyFile: string }> {
  const certFile = join(folder, 'cert.pem');
  const keyFile = join(folder, 'key.pem');
  const subject = `-subj /CN=${name} -addext subjectAltName=DNS:${name},IP:127.0.0.1`;
  const key = '-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes';
  await run('openssl', [
    ...`req -x509 -days 2 ${key} ${subject}`.split(' '),
    '-keyout',
    keyFile,
    '-out',
    certFile,
  ]);
  return { certFile, keyFile };
}
