/** Characters of an SQS queue name at most. Source: SQS quotas. */
const MAX_QUEUE_NAME_LENGTH = 80;

/**
 * Name of the queue on which one instance gets notices: the fleet's prefix and the instance. One queue per instance, whatever
 * number of databases it has. undefined: the two do not make a queue name (letters, digits, "-" and "_", at most 80).
 */
export function noticeQueueName(prefix: string, instance: string): string | undefined {
  const name = `${prefix}${instance}`;
  const valid = instance !== '' && /^[A-Za-z0-9_-]+$/.test(name);
  return valid && name.length <= MAX_QUEUE_NAME_LENGTH ? name : undefined;
}

/** The instance that reads a queue, by its URL; undefined if the queue is none of the fleet's. */
export function instanceOfNoticeQueue(prefix: string, queueUrl: string): string | undefined {
  const name = queueUrl.slice(queueUrl.lastIndexOf('/') + 1);
  const instance = name.slice(prefix.length);
  return name.startsWith(prefix) && instance !== '' ? instance : undefined;
}
