/** What an agent's configuration is made from; the values may be tokens of CloudFormation. */
export type AgentYamlProps = {
  readonly instance: string;
  /** ARN of what the host needs for its rights, for a person. */
  readonly access?: string | undefined;
  readonly databases: readonly string[];
  readonly bucketName: string;
  readonly region: string;
  readonly objectPrefix: string;
  readonly queuePrefix: string;
  /** The agent makes its queue itself. */
  readonly createQueue?: boolean | undefined;
  /** Queue for the agent's own notices; none: S3's event alone announces its objects. */
  readonly directQueueUrl?: string | undefined;
};

/** By the names that everybody uses: with `lmdb-filename=…/pdns.lmdb` PowerDNS adds `-0` for its one shard. */
const POWERDNS_FILES: Readonly<Record<string, string>> = {
  main: 'pdns.lmdb',
  shard: 'pdns.lmdb-0',
};

/** A complete configuration file of an agent; only the paths of the LMDBs are to be checked. */
export function agentYaml(props: AgentYamlProps): string {
  const { instance, databases, bucketName, region, objectPrefix, queuePrefix, directQueueUrl } =
    props;
  const lmdbs = databases.flatMap((database) => [
    `  ${database}:`,
    `    path: /var/lib/powerdns/${POWERDNS_FILES[database] ?? `${database}.lmdb`}`,
    '    schema_tracks_changes: true',
    '    options:',
    '      no_subdir: true',
    '      create: true',
    '      map_size: 1000MB',
  ]);
  const prefix = objectPrefix === '' ? [] : [`    global_prefix: "${objectPrefix}"`];
  const direct = directQueueUrl === undefined ? [] : [`  direct_queue_url: ${directQueueUrl}`];
  const own = props.createQueue === true ? ['  create_queue: true'] : [];
  return [
    ...(props.access === undefined ? [] : [`# Rights of this host: ${props.access}`]),
    `instance: ${instance}`,
    'lmdbs:',
    ...lmdbs,
    'storage:',
    '  type: s3',
    '  options:',
    `    bucket: ${bucketName}`,
    `    region: ${region}`,
    ...prefix,
    'notices:',
    '  type: sqs',
    `  queue_prefix: ${queuePrefix}`,
    `  region: ${region}`,
    ...own,
    ...direct,
    '# /readyz there answers 200 when this host has everything that the bucket held.',
    'http:',
    '  address: 127.0.0.1:8500',
    '',
  ].join('\n');
}
