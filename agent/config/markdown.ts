import type { AnyField, Fields, Leaf } from './fields.ts';
import { AZURE_FIELDS, FS_FIELDS, S3_FIELDS } from './storage-table.ts';
import { CONFIG_FIELDS } from './table.ts';

const INTRODUCTION = `# Configuration

One YAML file, \`lightningstream.yaml\` in the working directory or the one named by \`--config\`. A
file of *upstream* (PowerDNS LightningStream) works as it is. This program adds the keys marked
**+**, which upstream does not know.

\`\`\`yaml
instance: \${HOSTNAME}                # unique; the default is the host name
lmdbs:
  main:
    path: /var/lib/powerdns/pdns.lmdb
    schema_tracks_changes: true
    options: { no_subdir: true, create: true, map_size: 1000MB }
  shard:
    path: /var/lib/powerdns/pdns.lmdb-0
    schema_tracks_changes: true
    options: { no_subdir: true, create: true, map_size: 1000MB }
storage:
  type: s3
  options: { bucket: my-bucket, region: eu-west-1, global_prefix: dns/ }
http:
  address: 127.0.0.1:8500
\`\`\`

How it is read:

- YAML 1.1: \`yes\`, \`no\`, \`on\`, \`off\` are booleans, \`0775\` and \`0o775\` are octal.
- Before that, \`$NAME\` and \`\${NAME}\` are replaced by environment variables in the whole text,
  comments included. What is not set becomes nothing, with a warning. There is no way to write a \`$\`
  that a name follows.
- Unknown and duplicate keys are errors, also in \`storage.options\` (there only for commands that use
  the storage).
- duration: numbers with units ns, us, ms, s, m, h, as in \`1m30s\`. **A bare number is nanoseconds.**
- size: a whole number with a unit B, KB, MB, GB, TB, PB or EB, multiples of 1024.
- flags: names such as \`MDB_INTEGERKEY\`, separated by \`|\`, or a number.
- \`log.timestamp: disable\` leaves out the time in every format.

\`--log-config\` logs the effective configuration. Values of secret keys (marked *secret*) are shown
as \`***\`, and so is the query of Azure's \`endpoint_url\`, which may be a SAS: upstream masks
\`secret_key\` only.

Storage and queues are reached through the HTTP proxy that the environment names: \`HTTPS_PROXY\` for
https:// addresses, \`HTTP_PROXY\` for http:// ones, except what \`NO_PROXY\` lists (domains, which
include what is below them, IPs, networks such as \`10.0.0.0/8\`, each of the first two with a port if
you like, or \`*\`) and this host itself. Small letters work too. A proxy is
\`http://USER:PASSWORD@HOST:PORT\` or the same with https://; the password is never shown.

This page is the output of \`lightningstream docs configuration\`.
`;

/** Every key with type, default and meaning, as Markdown. */
export function configurationMarkdown(): string {
  return [
    INTRODUCTION,
    '## Keys',
    '',
    ...keyTable(CONFIG_FIELDS),
    '## storage.options of type fs',
    '',
    ...keyTable(FS_FIELDS),
    '## storage.options of type s3',
    '',
    ...keyTable(S3_FIELDS),
    '## storage.options of type azure',
    '',
    ...keyTable(AZURE_FIELDS),
    '## storage.options of type memory',
    '',
    'None; what is given is ignored. The objects are gone when the process ends: for tests.',
    '',
  ].join('\n');
}

function keyTable(fields: Fields): string[] {
  return ['| key | type | default | meaning |', '|---|---|---|---|', ...rows(fields, ''), ''];
}

function rows(fields: Fields, path: string): string[] {
  return Object.values(fields).flatMap((field) => fieldRows(field, path));
}

function fieldRows(field: AnyField, path: string): string[] {
  const key = path === '' ? field.key : `${path}.${field.key}`;
  switch (field.node) {
    case 'leaf':
      return [leafRow(field as Leaf<unknown>, key)];
    case 'section':
      return rows(field.fields as Fields, key);
    case 'list':
      return [`| \`${key}\`${field.ours ? ' **+**' : ''} | list | | ${field.help} |`];
    case 'deferred':
      return [`| \`${key}\` | map | | ${field.help} |`];
    case 'map':
      return rows(field.fields as Fields, `${key}.<${field.keyName}>`);
    default:
      return field satisfies never;
  }
}

function leafRow(field: Leaf<unknown>, key: string): string {
  const marks = `${field.ours ? ' **+**' : ''}${field.secret ? ' *secret*' : ''}`;
  const fallback = field.required
    ? 'required'
    : field.defaultText === ''
      ? ''
      : `\`${field.defaultText}\``;
  return `| \`${key}\`${marks} | ${field.type} | ${fallback} | ${field.help.replaceAll('|', String.raw`\|`)} |`;
}
