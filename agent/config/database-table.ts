import { mapOf, section } from './fields.ts';
import { count, dbiFlags, fileMode, flag, size, text } from './value-types.ts';

/** The keys of one database, under `lmdbs.<name>`. */
export const DATABASE = {
  path: text('path', {
    help: 'The LMDB: a directory, or with `no_subdir` a file.',
    required: true,
    example: 'path: /var/lib/powerdns/pdns.lmdb',
  }),
  options: section('options', 'How the LMDB is opened.', {
    noSubdir: flag('no_subdir', {
      default: false,
      help: '`path` is a file, not a directory. PowerDNS needs this.',
    }),
    create: flag('create', {
      default: false,
      help: 'Create the LMDB if it is missing. Without it a missing file is an error.',
    }),
    dirMask: fileMode('dir_mask', {
      default: 0o775,
      zeroIsDefault: true,
      help: 'Mode of directories that are created. 0 means the default.',
    }),
    fileMask: fileMode('file_mask', {
      default: 0o664,
      zeroIsDefault: true,
      help: 'Mode of files that are created. 0 means the default.',
    }),
    mapSizeBytes: size('map_size', {
      default: 0,
      help: 'Map size of a created LMDB; 0 means 1GB. An existing LMDB keeps its own.',
    }),
    maxDbs: count('max_dbs', {
      default: 64,
      atLeast: 0,
      zeroIsDefault: true,
      help: 'How many DBIs may be open. 0 means the default.',
    }),
  }),
  schemaTracksChanges: flag('schema_tracks_changes', {
    default: false,
    help: 'The application keeps headers with timestamps itself (native schema).',
  }),
  schemaCheck: flag('schema_check', {
    default: true,
    ours: true,
    help: 'Refuse to start where the values in the LMDB contradict `schema_tracks_changes`. Off only for an application whose values look like those of the other schema.',
  }),
  allowSchemaUpgrade: flag('allow_schema_upgrade', {
    default: false,
    ours: true,
    help: 'Merge a newer `schemaversion` of PowerDNS than this LMDB has. Otherwise it is held back; see [upgrading](upgrading.md).',
  }),
  dupsortHack: flag('dupsort_hack', {
    default: false,
    help: 'Sync DBIs with MDB_DUPSORT of an application without headers.',
  }),
  headerExtraPaddingBlock: flag('header_extra_padding_block', {
    default: false,
    help: 'For tests of applications: headers written by merges get one empty extension block.',
  }),
  dbiOptions: mapOf(
    'dbi_options',
    { keyName: 'dbi', help: 'Exceptions for single DBIs.' },
    {
      overrideCreateFlags: dbiFlags('override_create_flags', {
        help: 'Flags to create this DBI with, instead of those in the snapshot.',
      }),
    },
  ),
} as const;
