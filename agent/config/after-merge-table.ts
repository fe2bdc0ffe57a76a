import { mapOf, textList } from './fields.ts';
import { duration, text } from './value-types.ts';

/** What runs after merges, by a name of the operator's. */
export const AFTER_MERGE = mapOf(
  'after_merge',
  { keyName: 'hook', help: 'What to run after merges.' },
  {
    command: textList('command', {
      help: 'A program and its arguments, run without a shell after merges; the names of the changed databases are in its `LIGHTNINGSTREAM_DATABASES`. One run at a time; it never holds up sync.',
    }),
    powerdnsUrl: text('powerdns_url', {
      ours: true,
      help: 'In place of a command: the HTTP API of the PowerDNS beside this agent, as in `http://127.0.0.1:8081`. Its caches are flushed for the zones that merges changed.',
    }),
    powerdnsApiKey: text('powerdns_api_key', {
      ours: true,
      secret: true,
      help: '`api-key` of that PowerDNS.',
    }),
    databases: textList('databases', {
      help: 'The databases that this is for, by name; unless given, all.',
    }),
    minIntervalMs: duration('min_interval', {
      default: 100,
      ours: true,
      help: 'From the start of one run to the start of the next, at least. What is merged meanwhile is one run.',
    }),
    timeoutMs: duration('timeout', {
      default: 10_000,
      atLeastMs: 100,
      ours: true,
      help: 'A run that takes longer is ended, and tried again.',
    }),
  },
);
