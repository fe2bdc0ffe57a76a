/** Characters of an SQS queue name at most. Source: SQS quotas. */
const MAX_QUEUE_NAME_LENGTH = 80;

/** Marks queues that agents made. */
const QUEUE_TAG = 'lightningstream';
/** The instance that made the queue, for people. */
const INSTANCE_TAG = 'lightningstream:instance';

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

/** Tags of the queue that an agent makes for its instance. Queues of the stack have none of them. */
export function agentQueueTags(instance: string): Readonly<Record<string, string>> {
  return { [QUEUE_TAG]: 'notices', [INSTANCE_TAG]: instance };
}

/** True for a queue that an agent made, by its tags. Only such a queue may be removed when nobody reads it. */
export function isAgentQueue(tags: Readonly<Record<string, string>>): boolean {
  return QUEUE_TAG in tags;
}
