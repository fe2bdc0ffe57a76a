import { errorText, SyncError } from '../../protocol/errors.ts';

type Diagnosis = {
  readonly what: string;
  readonly hint: string;
  readonly denied?: boolean;
  readonly retryable?: boolean;
};

const FREE_SPACE = 'Free space there: agents go on by themselves once it is writable.';
const PERMISSION = 'Give the user that runs this agent read and write permission on that folder.';

const DIAGNOSES: Readonly<Record<string, Diagnosis>> = {
  ENOSPC: { what: 'no space left', hint: FREE_SPACE, retryable: true },
  EDQUOT: { what: 'disk quota exceeded', hint: FREE_SPACE, retryable: true },
  EACCES: { what: 'permission denied', hint: PERMISSION, denied: true },
  EPERM: { what: 'operation not permitted', hint: PERMISSION, denied: true },
  EROFS: { what: 'file system is read-only', hint: 'Mount it read-write.', denied: true },
  ENOENT: {
    what: 'folder is gone',
    hint: 'Mount or create the folder of storage.options.root_path.',
    retryable: true,
  },
  ENOTDIR: {
    what: 'not a folder',
    hint: 'Set storage.options.root_path to a folder.',
    denied: true,
  },
  ENAMETOOLONG: { what: 'name too long', hint: 'Choose shorter database and instance names.' },
  EEXIST: {
    what: 'something else has that name',
    hint: 'Set storage.options.root_path to a folder.',
    denied: true,
  },
  EMFILE: { what: 'too many open files', hint: 'Raise the limit of open files.', retryable: true },
};

/** The `code` of a failed system call ("ENOENT"), or "" for anything else. */
export function systemCode(error: unknown): string {
  if (typeof error === 'object' && error !== null && 'code' in error) {
    const { code } = error;
    return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) ? code : '';
  }
  return '';
}

/**
 * The SyncError for a failed file operation; aborts and errors that are mapped already come back as they are.
 * ENOSPC, EDQUOT, EMFILE, a missing folder and unknown I/O errors are retryable; permissions are not.
 */
export function filesystemError(error: unknown, action: string): unknown {
  const code = systemCode(error);
  if (code === '') {
    // Not a system call's failure: a body that failed, an abort with a reason of its own, or a bug.
    return error;
  }
  const diagnosis = DIAGNOSES[code];
  if (diagnosis === undefined) {
    return new SyncError('STORAGE_FAILED', `cannot ${action}: ${errorText(error)}`, {
      hint: 'Check the disk and the kernel log of this host.',
      retryable: true,
      cause: error,
    });
  }
  return new SyncError(
    diagnosis.denied === true ? 'STORAGE_DENIED' : 'STORAGE_FAILED',
    `cannot ${action}: ${diagnosis.what} (${code})`,
    { hint: diagnosis.hint, retryable: diagnosis.retryable ?? false, cause: error },
  );
}
