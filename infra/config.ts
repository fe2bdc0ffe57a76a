import * as z from 'zod';
import { noticeQueueName } from '../protocol/notice-queue.ts';
import { COMPACTED_INSTANCE } from '../protocol/object-name.ts';

const name = (what: string, max: number) =>
  z
    .string()
    .max(max)
    .regex(/^[A-Za-z0-9-]+$/, `${what}: use letters, digits and "-"`);

const MINUTES_PER_DAY = 24 * 60;

/** The longest that a stage may be: `lightningstream-STAGE-ACCOUNT-REGION` is a bucket, of at most 63 characters. */
const STAGE_MAX =
  63 - 'lightningstream---'.length - '111122223333'.length - 'ap-southeast-2'.length;

const fields = z.strictObject({
  /** Tells deployments in one account apart. Part of the names of bucket and queues. */
  stage: name('stage', STAGE_MAX).default('prod'),
  /** `instance` of every agent. More than 100: let agents make their queues, and give them a role of your own. */
  agents: z
    .array(
      name('an agent', 40).regex(
        // Case does not matter: what the agent's own configuration says.
        /^(?!compacted)/i,
        'an agent: its policy would be one for bases; use a name that does not begin with "compacted"',
      ),
    )
    .max(100)
    .default([]),
  /** Names of the databases: the keys of `lmdbs` in the agents' configuration. */
  databases: z
    .array(
      z
        .string()
        .max(60)
        .regex(/^(?!_)(?!.*__)[A-Za-z0-9_-]*[A-Za-z0-9-]$/),
    )
    .min(1)
    .max(50)
    .default(['main']),
  /** What stands before every object name; `global_prefix` of the agents. */
  objectPrefix: z
    .string()
    .max(200)
    .regex(/^[A-Za-z0-9/_.-]*$/)
    .default(''),
  /** Minutes between two compactions of a database. */
  compactionMinutes: z.number().int().min(1).max(MINUTES_PER_DAY).default(5),
  /** Memory of the compaction Lambda, MiB; its share of a processor grows with it, and 1769 are a whole one. */
  compactionMemoryMib: z.number().int().min(512).max(10_240).default(1024),
  /** Temporary disk of the compaction Lambda, MiB: twice the compressed database and the new full snapshots of one run. */
  compactionDiskMib: z.number().int().min(512).max(10_240).default(2048),
  /** How long an object stays after the base covers it. */
  mustKeepMinutes: z.number().min(0).max(MINUTES_PER_DAY).default(10),
  /** Days after which tombstones are dropped; what the agents' `sweeper.retention_days` says. Absent: never. */
  tombstoneRetentionDays: z.number().min(1).optional(),
  /** Upstream instances read the bucket. */
  upstreamReads: z.boolean().default(false),
  /** Hours for which notices wait for an agent that is away; later it lists. */
  noticeRetentionHours: z.number().int().min(1).max(336).default(4),
  /** Days after which a queue that an agent has made, and in which notices wait that nobody takes, is removed. */
  unreadQueueDays: z.number().int().min(1).max(365).default(7),
  /** Gets the alarms by e-mail. Absent: alarms only show in CloudWatch. */
  alarmEmail: z.email().optional(),
  /** Minutes without a compaction, or for which an object waits for one, before the alarm. */
  compactionLagMinutes: z.number().int().min(10).max(MINUTES_PER_DAY).default(60),
  /** Encrypts the bucket with a key of this account instead of S3's own. */
  customerKey: z.boolean().default(false),
  /** Uses a bucket that exists; its notification must then be set by hand, see the outputs. */
  existingBucket: z.string().min(3).max(63).optional(),
  /** Makes a role per agent which this account's users and roles may assume, beside its policy. */
  agentRoles: z.boolean().default(false),
  /** Lets agents tell the ingest queue about their uploads themselves, which is faster than S3's event. */
  directNotices: z.boolean().default(false),
  /** Beginning of the links to the runbook in alarms. */
  runbookUrl: z.string().default('docs/runbook.md'),
  /** Days for which the Lambdas' logs are kept. */
  logDays: z.union([z.literal(7), z.literal(14), z.literal(30), z.literal(90)]).default(14),
});

const configSchema = fields.superRefine((config, context) => {
  for (const [path, message] of quotaProblems(config)) {
    context.addIssue({ code: 'custom', path: [path], message });
  }
});

/** What AWS would refuse in the middle of a deployment, found before. */
function* quotaProblems(config: z.infer<typeof fields>): Generator<[path: string, string]> {
  const { stage, agents } = config;
  const longest = agents.reduce((one, other) => (other.length > one.length ? other : one), '');
  const queue = noticeQueueName(noticeQueuePrefix(stage), longest);
  if (longest !== '' && queue === undefined) {
    yield [
      'agents',
      `${longest}: with the stage ${stage} it makes a queue of more than 80 letters`,
    ];
  }
  for (const taken of agents.filter((agent) => agent === COMPACTED_INSTANCE)) {
    yield ['agents', `${taken} is the compactor's name`];
  }
  // Rules of policies tell the parts of names apart by where they stand.
  for (const part of agents.filter((agent) => /^(?:S\d+|G[a-z0-9]+)$/.test(agent))) {
    yield ['agents', `${part} looks like another part of an object's name`];
  }
}

/** Beginning of the names of the agents' queues. */
export function noticeQueuePrefix(stage: string): string {
  return `lightningstream-${stage}-notices-`;
}

/** What a deployment looks like. Every key, its meaning and its default stand in the schema. */
export type SyncConfig = z.infer<typeof configSchema>;

/** Context `lightningstream` (an object, or JSON from the command line) to a configuration. Throws with one line per problem. */
export function parseSyncConfig(context: unknown): SyncConfig {
  const value: unknown = typeof context === 'string' ? JSON.parse(context) : (context ?? {});
  const parsed = configSchema.safeParse(value);
  if (!parsed.success) {
    const lines = parsed.error.issues.map(({ path, message }) => `  ${path.join('.')}: ${message}`);
    throw new Error(`context "lightningstream" cannot be used:\n${lines.join('\n')}`);
  }
  return parsed.data;
}
