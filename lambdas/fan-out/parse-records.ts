import * as z from 'zod';
import { errorText } from '../../protocol/errors.ts';
import { type Notice, parseNotice } from '../../protocol/notice.ts';
import { COMPACTED_INSTANCE, parseObjectName } from '../../protocol/object-name.ts';

/** One message of the ingest queue. */
export type IngestMessage = { readonly messageId: string; readonly body: string };

/** Something on the ingest queue that is no notice: logged, counted, never tried again. */
export type Dropped = { readonly messageId: string; readonly reason: string };

/** What a batch of messages says. */
export type ParsedRecords = {
  /** Notices, each name once, with the messages they came in. */
  readonly notices: ReadonlyMap<string, { readonly notice: Notice; readonly messageIds: string[] }>;
  readonly dropped: readonly Dropped[];
};

const s3Event = z.object({
  Records: z.array(
    z.object({
      eventName: z.string(),
      eventTime: z.string(),
      s3: z.object({ object: z.object({ key: z.string(), size: z.number().nonnegative() }) }),
    }),
  ),
});
const testEvent = z.object({ Event: z.literal('s3:TestEvent') });

/**
 * Parses messages of the ingest queue: S3's events, S3's test event, and notices that agents send themselves. Never
 * throws: what is none of those, or about no object of ours, is dropped.
 *
 * Events of the compactor's own objects are passed over: agents find them by the manifest.
 */
export function parseRecords(
  messages: readonly IngestMessage[],
  objectPrefix: string,
): ParsedRecords {
  const notices = new Map<string, { notice: Notice; messageIds: string[] }>();
  const dropped: Dropped[] = [];
  for (const message of messages) {
    try {
      for (const notice of noticesOf(message.body, objectPrefix)) {
        const known = notices.get(notice.name);
        if (known === undefined) {
          notices.set(notice.name, { notice, messageIds: [message.messageId] });
        } else {
          known.messageIds.push(message.messageId);
        }
      }
    } catch (error) {
      dropped.push({ messageId: message.messageId, reason: errorText(error) });
    }
  }
  return { notices, dropped };
}

function noticesOf(body: string, objectPrefix: string): Notice[] {
  const json: unknown = JSON.parse(body);
  if (testEvent.safeParse(json).success) {
    return [];
  }
  const event = s3Event.safeParse(json);
  if (!event.success) {
    return [requireOwn(parseNotice(body))];
  }
  return event.data.Records.flatMap(({ eventName, eventTime, s3 }) => {
    if (!eventName.startsWith('ObjectCreated:')) {
      throw new Error(`an event of kind ${eventName}`);
    }
    const notice = noticeOf(decodeKey(s3.object.key), objectPrefix);
    const eventTimeMs = Math.max(Date.parse(eventTime), 0) || 0;
    const complete = { ...notice, sizeBytes: s3.object.size, eventTimeMs };
    return complete.instance === COMPACTED_INSTANCE ? [] : [complete];
  });
}

/** S3 encodes keys in events like a form: "+" for a space, %XX for bytes. */
function decodeKey(key: string): string {
  return decodeURIComponent(key.replaceAll('+', ' '));
}

function noticeOf(key: string, objectPrefix: string): Omit<Notice, 'sizeBytes' | 'eventTimeMs'> {
  const name = key.startsWith(objectPrefix) ? key.slice(objectPrefix.length) : undefined;
  const parsed = name === undefined ? undefined : parseObjectName(name);
  if (parsed === undefined) {
    throw new Error(`no object of ours: ${key.slice(0, 200)}`);
  }
  const { database, instance } = parsed;
  return { version: 1, database, instance, name: parsed.name };
}

/** A direct notice must agree with the name it carries: the writer it states gets none. */
function requireOwn(notice: Notice): Notice {
  const { database, instance } = noticeOf(notice.name, '');
  if (database !== notice.database || instance !== notice.instance) {
    throw new Error(`a notice of ${notice.instance} about ${notice.name.slice(0, 200)}`);
  }
  return notice;
}
