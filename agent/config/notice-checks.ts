import type { Values } from './fields.ts';
import type { CONFIG_FIELDS } from './table.ts';
import type { Problem } from './yaml-reader.ts';

type NoticeValues = Values<typeof CONFIG_FIELDS>['notices'];

/** What is wrong with `notices` as a whole, each with the key to blame. */
export function* noticeProblems(
  notices: NoticeValues,
  storageType: string,
): Generator<Omit<Problem, 'line'> & { readonly key: string }> {
  const { type, queueUrl, queuePrefix, createQueue, waitTimeMs } = notices;
  if (type === 'sqs' && queueUrl === '' && queuePrefix === '') {
    yield {
      key: 'type',
      message: '`notices.type` is sqs and no queue is named',
      hint: 'Set `notices.queue_url` or `notices.queue_prefix`.',
    };
  }
  if (queueUrl !== '' && queuePrefix !== '') {
    yield {
      key: 'queue_prefix',
      message: '`notices` has both `queue_url` and `queue_prefix`',
      hint: 'Keep one of them.',
    };
  }
  if (createQueue && queuePrefix === '') {
    yield {
      key: 'create_queue',
      message: '`notices.create_queue` needs `queue_prefix`',
      hint: 'The name of a queue to create is the prefix and the name of the instance.',
    };
  }
  if (type === 'watch' && storageType !== 'fs') {
    yield {
      key: 'type',
      message: '`notices.type` is watch, which is for storage type fs only',
      hint: 'Leave it out, or use poll or sqs.',
    };
  }
  if (waitTimeMs > LONGEST_WAIT_MS) {
    yield { key: 'wait_time', message: '`notices.wait_time` must be 20s or less' };
  }
  for (const [key, url] of urlsOf(notices)) {
    if (url !== '' && !/^https?:\/\/[^/@]+(\/|$)/.test(url)) {
      // Without the text: it may hold a password.
      yield { key, message: `\`notices.${key}\` is no URL with http:// or https://` };
    }
  }
}

/** Source: SQS, `ReceiveMessage`, WaitTimeSeconds. */
const LONGEST_WAIT_MS = 20_000;

function urlsOf(notices: NoticeValues): [string, string][] {
  return [
    ['queue_url', notices.queueUrl],
    ['direct_queue_url', notices.directQueueUrl],
    ['endpoint_url', notices.endpointUrl],
  ];
}
