/** Samples of one series at intervals of a minute, in the notation of promtool. */
type Samples = { readonly series: string; readonly values: string };

/** One rule: when it fires, what it means, and a case in which it must fire. */
export type Alert = {
  readonly name: string;
  readonly expr: string;
  /** How long it must be so before it fires; undefined: at once. */
  readonly lasting?: string;
  readonly severity: 'critical' | 'warning';
  /** One line for whoever is woken up. */
  readonly summary: string;
  /** Completes the row of the runbook's table. */
  readonly means: string;
  /** Heading of the runbook. */
  readonly section: string;
  /** Samples with which it has fired after so many minutes. */
  readonly fires: { readonly input: readonly Samples[]; readonly afterMinutes: number };
};

const TARGET = 'job="lightningstream",instance="ns1:8500"';
const MAIN = `${TARGET},lmdb="main"`;

function sample(metric: string, values: string, labels = ''): Samples {
  const more = labels === '' ? '' : `,${labels}`;
  return { series: `${metric}{${MAIN}${more}}`, values };
}

/** What is worth waking somebody, or a ticket. All are quiet while every check of `/healthz` is fine. */
export const ALERTS: readonly Alert[] = [
  {
    name: 'LightningStreamDown',
    expr: 'up{job="lightningstream"} == 0',
    lasting: '2m',
    severity: 'critical',
    summary: 'the agent on {{ $labels.instance }} does not answer',
    means:
      'The agent is not running, or hangs: its log, then systemd or the supervisor of containers.',
    section: 'The agent',
    fires: { input: [{ series: `up{${TARGET}}`, values: '0x5' }], afterMinutes: 3 },
  },
  {
    name: 'LightningStreamFailing',
    expr: 'lightningstream_health_check == 2',
    lasting: '1m',
    severity: 'critical',
    summary: '{{ $labels.lmdb }} on {{ $labels.instance }}: {{ $labels.check }} fails',
    means: 'A check of `/healthz` says that a database does not send or receive.',
    section: 'The agent',
    fires: {
      input: [sample('lightningstream_health_check', '0x2 2x5', 'check="map_full"')],
      afterMinutes: 5,
    },
  },
  {
    name: 'LightningStreamUnwell',
    expr: 'lightningstream_health_check == 1',
    lasting: '15m',
    severity: 'warning',
    summary: '{{ $labels.lmdb }} on {{ $labels.instance }}: warning {{ $labels.check }}',
    means: 'A check of `/healthz` has been a warning for a quarter of an hour.',
    section: 'The agent',
    fires: {
      input: [sample('lightningstream_health_check', '0x2 1x20', 'check="clock_skew"')],
      afterMinutes: 19,
    },
  },
  {
    name: 'LightningStreamNotStarted',
    expr: 'lightningstream_started == 0',
    lasting: '15m',
    severity: 'critical',
    summary: '{{ $labels.lmdb }} on {{ $labels.instance }} has not finished its start',
    means: 'The first pass is not over: this host does not have everything yet.',
    section: 'The start takes long',
    fires: { input: [sample('lightningstream_started', '0x20')], afterMinutes: 17 },
  },
  {
    name: 'LightningStreamBehind',
    expr: 'lightningstream_instance_lag_seconds > 60',
    lasting: '5m',
    severity: 'warning',
    summary:
      '{{ $labels.lmdb }} on {{ $labels.instance }} is {{ $value | humanizeDuration }} behind {{ $labels.syncer_instance }}',
    means: 'An object of another instance waits to be merged: storage, map, or a damaged object.',
    section: 'Not everything that is listed is merged',
    fires: {
      input: [sample('lightningstream_instance_lag_seconds', '0 70+60x8', 'syncer_instance="ns2"')],
      afterMinutes: 7,
    },
  },
  {
    name: 'LightningStreamUnsent',
    expr: 'lightningstream_oldest_unsent_change_seconds > 300',
    severity: 'critical',
    summary:
      'changes on {{ $labels.instance }} have not been sent for {{ $value | humanizeDuration }}',
    means: 'Local changes are on this host alone: storing fails, or the start is not over.',
    section: 'Storage cannot be listed, read or written',
    fires: {
      input: [sample('lightningstream_oldest_unsent_change_seconds', '0 60+60x8')],
      afterMinutes: 6,
    },
  },
  {
    name: 'LightningStreamMapFilling',
    expr: 'lmdb_total_usage_fraction > 0.8',
    lasting: '15m',
    severity: 'warning',
    summary:
      'the LMDB {{ $labels.lmdb }} on {{ $labels.instance }} uses {{ $value | humanizePercentage }} of its map',
    means: 'The map will be full, and the application cannot write then: enlarge it before.',
    section: 'The map is full',
    fires: { input: [sample('lmdb_total_usage_fraction', '0.7 0.81x20')], afterMinutes: 17 },
  },
  {
    name: 'LightningStreamReadersFull',
    expr: 'lmdb_env_readers_current / lmdb_env_readers_max > 0.9',
    lasting: '5m',
    severity: 'warning',
    summary: 'the lock table of {{ $labels.lmdb }} on {{ $labels.instance }} is nearly full',
    means: 'Too many programs or threads read the LMDB; the next one is refused.',
    section: 'The LMDB cannot be used',
    fires: {
      input: [
        sample('lmdb_env_readers_current', '10 120x10'),
        sample('lmdb_env_readers_max', '126x11'),
      ],
      afterMinutes: 7,
    },
  },
  {
    name: 'LightningStreamClockBehind',
    expr: 'increase(lightningstream_regressions_total[15m]) > 0',
    severity: 'warning',
    summary: 'changes on {{ $labels.instance }} were older than what they replaced',
    means: "This host's clock, or its application's, is behind: the older change was put back.",
    section: 'The clock is behind',
    fires: { input: [sample('lightningstream_regressions_total', '0x5 1x5')], afterMinutes: 6 },
  },
  {
    name: 'LightningStreamClockAhead',
    expr: 'increase(lightningstream_future_entries_total[15m]) > 0',
    severity: 'warning',
    summary: 'entries with a time in the future reached {{ $labels.instance }}',
    means: 'A clock in the fleet is ahead: what it writes wins until that time has come.',
    section: 'A clock is ahead',
    fires: { input: [sample('lightningstream_future_entries_total', '0x5 1x5')], afterMinutes: 6 },
  },
  {
    name: 'LightningStreamObjectLeftOut',
    expr: 'lightningstream_quarantined_objects + lightningstream_refused_objects > 0',
    severity: 'warning',
    summary: '{{ $labels.instance }} has left out {{ $value }} objects of {{ $labels.lmdb }}',
    means: 'A damaged object, one of another schema mode, or one that the map has no room for.',
    section: 'Damaged objects are left out',
    fires: {
      input: [
        sample('lightningstream_quarantined_objects', '0x2 1x5'),
        sample('lightningstream_refused_objects', '0x8'),
      ],
      afterMinutes: 3,
    },
  },
  {
    name: 'LightningStreamEntriesLeftOut',
    expr: 'lightningstream_entries_left_out + lightningstream_received_entries_left_out + lightningstream_invalid_values > 0',
    severity: 'warning',
    summary: '{{ $value }} entries of {{ $labels.lmdb }} on {{ $labels.instance }} are not synced',
    means: 'Entries that are too large, or that have no valid header, are on one host alone.',
    section: 'Entries are too large',
    fires: {
      input: [
        sample('lightningstream_entries_left_out', '0x2 1x5'),
        sample('lightningstream_received_entries_left_out', '0x8'),
        sample('lightningstream_invalid_values', '0x8'),
      ],
      afterMinutes: 3,
    },
  },
  {
    name: 'LightningStreamSchemaHeld',
    expr: 'lightningstream_held_schema_version > 0',
    lasting: '1h',
    severity: 'warning',
    summary: '{{ $labels.instance }} holds back schema version {{ $value }} of {{ $labels.lmdb }}',
    means: 'Other hosts run a newer PowerDNS: upgrade this one.',
    section: 'A schema version is held back',
    fires: { input: [sample('lightningstream_held_schema_version', '6x70')], afterMinutes: 62 },
  },
  {
    name: 'LightningStreamNoNotices',
    expr: 'lightningstream_notices_working == 0',
    lasting: '5m',
    severity: 'warning',
    summary: '{{ $labels.instance }} gets no notices from its {{ $labels.source }}',
    means: 'The storage is listed instead: changes arrive later, and cost more requests.',
    section: 'Notices do not come',
    fires: {
      input: [
        { series: `lightningstream_notices_working{${TARGET},source="queue"}`, values: '1 0x8' },
      ],
      afterMinutes: 7,
    },
  },
  {
    name: 'LightningStreamRejoinPending',
    expr: 'lightningstream_rejoin_pending == 1',
    lasting: '1h',
    severity: 'warning',
    summary: '{{ $labels.lmdb }} on {{ $labels.instance }} cannot finish its rejoin',
    means: 'The host was away for long, and something in the bucket cannot be read.',
    section: 'A rejoin cannot be finished',
    fires: { input: [sample('lightningstream_rejoin_pending', '1x70')], afterMinutes: 62 },
  },
  {
    name: 'LightningStreamSharedName',
    expr: 'lightningstream_shared_name_streams > 0',
    severity: 'critical',
    summary: 'another agent has the instance name of {{ $labels.instance }}',
    means: 'Two agents write under one name: give each its own.',
    section: 'Two agents have one name',
    fires: { input: [sample('lightningstream_shared_name_streams', '0x2 1x5')], afterMinutes: 3 },
  },
  {
    name: 'LightningStreamHookFails',
    expr: 'increase(lightningstream_after_merge_runs_total{result="failed"}[15m]) > 0',
    severity: 'warning',
    summary: 'the hook after merges fails on {{ $labels.instance }}',
    means: 'PowerDNS may answer from its cache what the LMDB no longer has.',
    section: 'A hook after merges fails',
    fires: {
      input: [sample('lightningstream_after_merge_runs_total', '0x5 1x5', 'result="failed"')],
      afterMinutes: 6,
    },
  },
  {
    name: 'LightningStreamLocksLong',
    expr: 'histogram_quantile(0.99, sum by (job, instance, lmdb, le) (rate(lightningstream_merge_lock_held_seconds_bucket[15m]))) > 0.25',
    lasting: '15m',
    severity: 'warning',
    summary:
      'merges on {{ $labels.instance }} hold the write lock of {{ $labels.lmdb }} for {{ $value | humanizeDuration }}',
    means: 'The application waits for merges: lower `max_lock_hold`, look at the disk.',
    section: 'Metrics worth an alarm',
    fires: {
      input: [
        sample('lightningstream_merge_lock_held_seconds_bucket', '0x40', 'le="0.25"'),
        sample('lightningstream_merge_lock_held_seconds_bucket', '0+9x40', 'le="0.5"'),
        sample('lightningstream_merge_lock_held_seconds_bucket', '0+9x40', 'le="+Inf"'),
      ],
      afterMinutes: 25,
    },
  },
];
