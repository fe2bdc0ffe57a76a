/**
 * A room: a folder, a subtree (`/**`) or a single file; the rooms that it may import; and the packages.
 * `node:*` stands for all of Node's modules, `@scope/*` for all packages of a scope.
 */
export type Room = readonly [room: string, imports: string, packages: string];

/** The rooms, from the bottom up: nothing imports a room further down in this list than itself. */
export const ROOMS: readonly Room[] = [
  // The format and the merge rules. Pure, so that every side of the bucket can use them.
  ['protocol', '', 'zod node:assert/strict node:stream/promises node:util node:zlib'],
  ['storage', 'protocol', 'node:events'],
  ['storage/http', 'protocol storage', 'node:* agent-base http-proxy-agent https-proxy-agent'],
  ['storage/s3', 'protocol storage storage/http', 'node:* @aws-sdk/* @smithy/*'],
  ['storage/azure', 'protocol storage storage/http', 'node:* @azure/*'],
  ['storage/folder', 'protocol storage', 'node:*'],
  // Temporary files; sorting and merging of snapshots, which know no bucket; the run around them.
  ['compaction/scratch', 'protocol storage', 'node:*'],
  ['compaction/merge', 'protocol compaction/scratch', 'node:*'],
  ['compaction', 'protocol storage compaction/scratch compaction/merge', 'zod'],

  ['agent/build', '', 'node:* esbuild node-addon-api node-api-headers'],
  ['agent/spool.ts', 'protocol storage', 'node:*'],
  ['agent/config', 'protocol', 'node:* yaml'],
  ['agent/log', 'agent/config', 'pino'],
  ['agent/pacing', 'protocol', ''],
  // A reader of LMDB's file format: it needs the file, and nothing else of the agent.
  ['agent/lmdb/pages', 'protocol', 'node:fs'],
  ['agent/lmdb', 'protocol agent/spool.ts agent/lmdb/pages', 'node:* lmdb'],
  ['agent/lmdb/changes', 'protocol agent/spool.ts agent/lmdb/pages agent/lmdb', 'node:zlib'],
  ['agent/lmdb/schema', 'protocol agent/lmdb/pages agent/lmdb agent/lmdb/changes', ''],
  [
    'agent/lmdb/session',
    'protocol agent/lmdb/pages agent/lmdb agent/lmdb/changes agent/lmdb/schema',
    '',
  ],
  [
    'agent/lmdb/merge',
    'protocol agent/spool.ts agent/lmdb/pages agent/lmdb agent/lmdb/changes agent/lmdb/schema agent/lmdb/session',
    '',
  ],
  ['agent/lmdb/offline', 'protocol agent/lmdb/pages agent/lmdb', ''],
  [
    'agent/lmdb/thread',
    'protocol agent/spool.ts agent/pacing agent/lmdb/pages agent/lmdb agent/lmdb/changes agent/lmdb/session agent/lmdb/merge',
    'node:*',
  ],
  // What the engine hangs on, seen from below it: its ports, each reporting to the watchdog.
  ['agent/watchdog', 'storage agent/pacing agent/lmdb', ''],
  ['agent/guard', 'protocol agent/config agent/log agent/watchdog agent/lmdb', 'node:*'],
  // What proves that objects are stored; when an engine sends what. Rules without a wait.
  ['agent/engine/proof', 'protocol', 'zod'],
  ['agent/engine/publish', 'protocol', ''],
  [
    'agent/engine',
    'protocol storage agent/spool.ts agent/log agent/pacing agent/watchdog agent/lmdb agent/engine/proof agent/engine/publish',
    'node:assert zod',
  ],
  [
    'agent/open-store.ts',
    'storage storage/http storage/s3 storage/azure storage/folder agent/config agent/pacing',
    '',
  ],
  [
    'agent/notices',
    'protocol storage storage/http storage/s3 storage/folder agent/config agent/log agent/pacing agent/open-store.ts',
    'node:* @aws-sdk/* @smithy/*',
  ],
  [
    'agent/after-merge',
    'protocol agent/config agent/log agent/pacing agent/watchdog agent/lmdb agent/engine',
    'node:*',
  ],
  [
    'agent/monitor',
    'protocol storage agent/config agent/log agent/pacing agent/watchdog agent/lmdb agent/engine agent/notices agent/after-merge',
    'node:* prom-client',
  ],
  [
    'agent/monitor/database',
    'protocol agent/config agent/log agent/watchdog agent/lmdb agent/engine agent/monitor',
    '',
  ],
  ['agent/status/page', 'agent/config agent/log agent/watchdog agent/monitor', 'node:crypto'],
  [
    'agent/status',
    'protocol storage agent/config agent/log agent/watchdog agent/open-store.ts agent/monitor agent/status/page',
    'node:*',
  ],
  [
    'agent/process',
    'protocol storage/http agent/config agent/log agent/lmdb/pages agent/watchdog agent/engine agent/notices agent/monitor',
    'node:*',
  ],
  [
    'agent/member',
    'protocol storage agent/config agent/log agent/pacing agent/watchdog agent/guard agent/lmdb agent/lmdb/thread agent/engine agent/after-merge agent/monitor agent/monitor/database agent/process',
    'node:*',
  ],
  [
    'agent/agent.ts',
    'protocol storage storage/http agent/spool.ts agent/config agent/log agent/pacing agent/watchdog agent/guard agent/notices agent/after-merge agent/monitor agent/status agent/open-store.ts agent/process agent/member',
    'node:*',
  ],
  [
    'agent/cli/commands',
    'protocol storage compaction/scratch compaction agent/config agent/log agent/lmdb/pages agent/lmdb agent/lmdb/offline agent/guard agent/monitor agent/open-store.ts agent/process agent/agent.ts',
    'node:* commander cli-progress',
  ],
  [
    'agent/cli',
    'protocol agent/config agent/log agent/pacing agent/cli/commands',
    'node:* commander',
  ],
  [
    'agent/main.ts',
    'protocol storage agent/agent.ts agent/lmdb/thread agent/process agent/cli',
    'node:events',
  ],
  ['agent/start.ts', 'agent/main.ts', ''],

  // No agent in a Lambda's bundle: its native addon must not get there.
  ['lambdas/shared', 'protocol', 'zod'],
  [
    'lambdas/compaction',
    'protocol storage/s3 compaction/scratch compaction lambdas/shared',
    'node:* zod aws-lambda @aws-lambda-powertools/*',
  ],
  [
    'lambdas/fan-out',
    'protocol lambdas/shared',
    'zod aws-lambda @aws-sdk/* @aws-lambda-powertools/*',
  ],
  ['lambdas/queue-sweeper', 'protocol lambdas/shared', 'zod @aws-sdk/* @aws-lambda-powertools/*'],
  ['infra', 'protocol lambdas/shared', 'node:* zod aws-cdk-lib constructs cdk-nag'],

  // It stands for an application: it has to reach the LMDB without the agent's code.
  ['demo', 'protocol storage storage/s3 infra', 'node:* yaml lmdb'],
  ['deploy/prometheus', '', 'node:* yaml'],
  ['test/support/**', '*', '*'],
  ['bench/**', '*', '*'],
  ['test/**', '*', '*'],
];

/** Packages that only some files of the rooms above may see, so that one file can be exchanged with the package. */
export const KEPT: readonly (readonly [packages: RegExp, files: RegExp])[] = [
  [/^lmdb$/, /^agent\/lmdb\/environment\.ts$|^demo\/application\.ts$/],
  [/^(@aws-sdk|@smithy)\//, /^storage\/s3\/|^agent\/notices\/sqs|^lambdas\/[^/]+\/handler\.ts$/],
  [/^agent-base$|^https?-proxy-agent$/, /^storage\/http\/proxy-agents\.ts$/],
];

/** Rooms that read no clock, environment or network of their own. */
export const PURE: readonly string[] = ['protocol', 'agent/lmdb/pages'];
