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

/** Tags of the queue that an agent makes for its instance. Queues of the stack have none of them. */
export function agentQueueTags(instance: string): Readonly<Record<string, string>> {
  return { [QUEUE_TAG]: 'notices', [INSTANCE_TAG]: instance };
}

/** The instance that made a queue, by its tags; undefined for a queue without that tag. */
export function makerOfQueue(tags: Readonly<Record<string, string>>): string | undefined {
  return tags[INSTANCE_TAG];
}

/** True for a queue that an agent made, by its tags. Only such a queue may be removed when nobody reads it. */
export function isAgentQueue(tags: Readonly<Record<string, string>>): boolean {
  return QUEUE_TAG in tags;
}

/** Instance and database of a notice as attributes on the topic, for the filters of subscriptions. */
export function noticeAttributes(notice: {
  readonly database: string;
  readonly instance: string;
}): Readonly<Record<'database' | 'instance', string>> {
  // SNS refuses an empty value, and a filter passes over a notice without the attribute.
  return { database: notice.database || '(none)', instance: notice.instance || '(none)' };
}

/** Values of a filter at most: SNS multiplies those of all attributes and takes 150. Source: SNS, filter policy constraints. */
const FILTER_VALUES_MAX = 100;

/**
 * What an instance wants of the topic: notices of others, about its databases. Beyond
 * {@link FILTER_VALUES_MAX} databases it gets those of all of them.
 */
export function noticeFilter(
  instance: string,
  databases: readonly string[],
): Readonly<Record<string, readonly (string | object)[]>> {
  const others = { instance: [{ 'anything-but': [instance] }] };
  const isNarrow = databases.length > 0 && databases.length <= FILTER_VALUES_MAX;
  return isNarrow ? { ...others, database: [...databases] } : others;
}

/** Name of the topic that feeds the queues with this prefix. */
export function noticeTopicName(prefix: string): string {
  return prefix.replace(/[-_]+$/, '');
}

/** ARN of the topic that feeds a queue: it stands in the queue's account and region. */
export function noticeTopicArn(prefix: string, queueArn: string): string {
  const [arn, partition, , region, account] = queueArn.split(':');
  return [arn, partition, 'sns', region, account, noticeTopicName(prefix)].join(':');
}

/** Policy of a queue of notices: the topic may send to it, and nobody talks to it without TLS. */
export function noticeQueuePolicy(topicArn: string): object {
  return {
    Version: '2012-10-17',
    Statement: [
      {
        Sid: 'Topic',
        Effect: 'Allow',
        Principal: { Service: 'sns.amazonaws.com' },
        Action: 'sqs:SendMessage',
        Resource: '*',
        Condition: { ArnEquals: { 'aws:SourceArn': topicArn } },
      },
      {
        Sid: 'TlsOnly',
        Effect: 'Deny',
        Principal: { AWS: '*' },
        Action: 'sqs:*',
        Resource: '*',
        Condition: { Bool: { 'aws:SecureTransport': 'false' } },
      },
    ],
  };
}
