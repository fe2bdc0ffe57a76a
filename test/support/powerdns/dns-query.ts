import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import { decodeMessage, encodeQuery, type DnsMessage, type DnsType } from './dns-message.ts';

export type DnsQuestion = {
  readonly name: string;
  readonly type: DnsType;
  /** Ask for signatures, too. */
  readonly dnssec?: boolean | undefined;
};

const ANSWER_TIMEOUT_MS = 1000;
const ATTEMPTS = 5;
let lastId = 0;

/** Asks the server on this port of 127.0.0.1 by UDP, and by TCP where the answer is cut short. */
export async function queryDns(port: number, question: DnsQuestion): Promise<DnsMessage> {
  const { name, type, dnssec = false } = question;
  let failure: unknown;
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    lastId = (lastId + 1) & 0xffff;
    const query = encodeQuery({ id: lastId, name, type, dnssec });
    try {
      const answer = decodeMessage(await askUdp(port, query));
      return answer.isTruncated ? decodeMessage(await askTcp(port, query)) : answer;
    } catch (error) {
      failure = error;
    }
  }
  throw new Error(`no answer for ${name} ${type} on port ${port}`, { cause: failure });
}

function askUdp(port: number, query: Buffer): Promise<Buffer> {
  const socket = createSocket('udp4');
  return new Promise<Buffer>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('timed out')), ANSWER_TIMEOUT_MS);
    const settle = (work: () => void) => {
      clearTimeout(timer);
      work();
    };
    socket.once('error', (error) => settle(() => reject(error)));
    socket.on('message', (bytes) => {
      // A late answer to an earlier query is none to this one.
      if (bytes.readUInt16BE(0) === query.readUInt16BE(0)) {
        settle(() => resolve(bytes));
      }
    });
    socket.connect(port, '127.0.0.1', () => socket.send(query));
  }).finally(() => socket.close());
}

function askTcp(port: number, query: Buffer): Promise<Buffer> {
  const socket = connect(port, '127.0.0.1');
  const length = Buffer.alloc(2);
  length.writeUInt16BE(query.length);
  socket.setTimeout(ANSWER_TIMEOUT_MS, () => socket.destroy(new Error('timed out')));
  socket.write(Buffer.concat([length, query]));
  return new Promise<Buffer>((resolve, reject) => {
    let bytes = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      if (bytes.length >= 2 && bytes.length >= 2 + bytes.readUInt16BE(0)) {
        resolve(bytes.subarray(2, 2 + bytes.readUInt16BE(0)));
      }
    });
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('closed without an answer')));
  }).finally(() => socket.destroy());
}
