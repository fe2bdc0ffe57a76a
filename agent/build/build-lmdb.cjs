// Builds the addon of npm `lmdb` for LMDB's v1 data format (the one that PowerDNS and every LMDB 0.9 program
// reads), straight from the package's own sources. npm's prebuilt binaries write a newer format, and the
// package's own build wants node-gyp and Python. Runs from the root's `postinstall`.
'use strict';

const { execFile } = require('node:child_process');
const { createHash } = require('node:crypto');
const { promisify } = require('node:util');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const run = promisify(execFile);
const cc = process.env.CC ?? 'gcc';
const cxx = process.env.CXX ?? 'g++';
const lmdbRoot = path.dirname(path.dirname(require.resolve('lmdb')));
const target = path.join(lmdbRoot, 'build/Release/lmdb.node');
const stamp = path.join(lmdbRoot, 'build/Release/built-for.txt');
const FORMAT_SOURCES = 'dependencies/lmdb-data-v1/libraries/liblmdb';

const SOURCES = [
  'src/lmdb-js.cpp',
  'src/writer.cpp',
  'src/env.cpp',
  'src/compression.cpp',
  'src/ordered-binary.cpp',
  'src/misc.cpp',
  'src/txn.cpp',
  'src/dbi.cpp',
  'src/cursor.cpp',
  'src/v8-functions.cpp',
  'dependencies/lz4/lib/lz4.c',
  `${FORMAT_SOURCES}/mdb.c`,
  `${FORMAT_SOURCES}/midl.c`,
];
const DEFINES = [
  'MDB_MAXKEYSIZE=0',
  'NAPI_DISABLE_CPP_EXCEPTIONS',
  'MDB_USE_ROBUST',
  'NODE_GYP_MODULE_NAME=lmdb',
  'BUILDING_NODE_EXTENSION',
  '_FILE_OFFSET_BITS=64',
  '_LARGEFILE_SOURCE',
];
const CXX_FLAGS = ['-std=gnu++17', '-fno-rtti', '-fno-exceptions', '-fno-strict-aliasing'];
const COMMON_FLAGS = ['-O3', '-fPIC', '-pthread', '-fvisibility=hidden', '-w'];

// The addon keeps a list of the files that this process has open: a second opening shares the first one's environment,
// and the last close really closes. It is filled by a callback that only the newer LMDB calls, so in a v1 build nothing
// was ever closed (three file descriptors and a map stay for each), and a file opened twice took its own lock away and
// cleared its own lock table. Here the list is looked up before LMDB opens the file, and filled after it: never later,
// because closing any descriptor of a file gives up all POSIX locks that the process has on it.
//
// And `putMany`: many entries in one call (docs/decisions/0022-many-puts-in-one-call.md). Entries lie packed in `bytes`, each
// as u32 key length, u32 value length, key, value, padded to 4 bytes; the highest bit of the key length says "left out".
// `job` holds u32 numbers: 0 where to begin, then where it stopped; 1 the end; 2 how many entries at most; 3 where in each value
// the transaction's id is written, 0: nowhere; 4 whether keys are tried behind the last one, then whether that still works;
// then 5 how many were put; 6 pages that the transaction has to write.
const PUT_MANY = `extern "C" unsigned int mdb_txn_dirty_pages(MDB_txn* txn);
static int putPacked(MDB_txn* txn, MDB_dbi dbi, char* bytes, uint32_t* job) {
	const uint32_t leftOut = 0x80000000u;
	uint32_t at = job[0], end = job[1], left = job[2], idOffset = job[3], put = 0;
	bool isAppending = job[4] != 0;
	uint64_t txnId = mdb_txn_id(txn);
	MDB_cursor* cursor;
	int rc = mdb_cursor_open(txn, dbi, &cursor);
	if (rc != 0)
		return rc;
	for (; rc == 0 && at < end && left > 0; left--) {
		uint32_t head[2];
		if (end - at < sizeof(head)) {
			rc = EINVAL;
			break;
		}
		memcpy(head, bytes + at, sizeof(head));
		uint64_t keySize = head[0] & ~leftOut, valueSize = head[1];
		uint64_t size = sizeof(head) + ((keySize + valueSize + 3) & ~(uint64_t) 3);
		if (size > end - at) {
			rc = EINVAL;
			break;
		}
		char* key = bytes + at + sizeof(head);
		MDB_val k = { (size_t) keySize, key }, v = { (size_t) valueSize, key + keySize };
		at += size;
		if (head[0] & leftOut)
			continue;
		if (idOffset > 0 && valueSize >= idOffset + sizeof(txnId))
			for (unsigned i = 0; i < sizeof(txnId); i++)
				key[keySize + idOffset + i] = (char) (txnId >> (56 - 8 * i));
		rc = MDB_KEYEXIST;
		if (isAppending)
			rc = mdb_cursor_put(cursor, &k, &v, MDB_APPEND);
		if (rc == MDB_KEYEXIST) {
			isAppending = false;
			rc = mdb_cursor_put(cursor, &k, &v, 0);
		}
		put++;
	}
	mdb_cursor_close(cursor);
	job[0] = at;
	job[4] = isAppending;
	job[5] = put;
	job[6] = mdb_txn_dirty_pages(txn);
	return rc;
}
static napi_value putMany(napi_env napiEnv, napi_callback_info callbackInfo) {
	Napi::CallbackInfo info(napiEnv, callbackInfo);
	EnvWrap* env = nullptr;
	napi_unwrap(napiEnv, info.This(), (void**) &env);
	if (env == nullptr || env->writeTxn == nullptr)
		return throwError(napiEnv, "putMany: there is no write transaction");
	if (!info[0].IsNumber() || !info[1].IsTypedArray() || !info[2].IsTypedArray())
		return throwError(napiEnv, "putMany: wants (dbi, bytes, job)");
	Napi::Uint8Array bytes = info[1].As<Napi::Uint8Array>();
	Napi::Uint32Array job = info[2].As<Napi::Uint32Array>();
	if (job.ElementLength() < 7 || job.Data()[0] > job.Data()[1] || job.Data()[1] > bytes.ByteLength())
		return throwError(napiEnv, "putMany: the end lies behind the bytes");
	MDB_dbi dbi = info[0].As<Napi::Number>().Uint32Value();
	int rc = putPacked(env->writeTxn->txn, dbi, (char*) bytes.Data(), job.Data());
	if (rc != 0)
		return throwLmdbError(napiEnv, rc);
	return info.Env().Undefined();
}
`;

const PATCHES = {
  [`${FORMAT_SOURCES}/mdb.c`]: [
    {
      from: 'size_t\nmdb_txn_id(MDB_txn *txn)\n',
      to: `unsigned int
mdb_txn_dirty_pages(MDB_txn *txn)
{
	return MDB_IDL_UM_MAX - txn->mt_dirty_room;
}

size_t
mdb_txn_id(MDB_txn *txn)
`,
    },
  ],
  'src/env.cpp': [
    {
      from: 'int EnvWrap::openEnv(',
      to: `#ifndef MDB_OVERLAPPINGSYNC
static bool findTrackedEnv(const char* path, int flags) {
	std::string file(path);
	if (!(flags & MDB_NOSUBDIR))
		file += "/data.mdb";
	struct stat sb;
	if (::stat(file.c_str(), &sb) != 0)
		return false;
	for (auto &envRef : EnvWrap::envTracking->envs) {
		if (envRef.dev == (uint64_t) sb.st_dev && envRef.inode == (uint64_t) sb.st_ino) {
			envRef.count++;
			foundEnv = envRef.env;
			return true;
		}
	}
	return false;
}
#endif
int EnvWrap::openEnv(`,
    },
    {
      from: '	rc = mdb_env_open(env, path, flags, permissionsMode);\n',
      to: `#ifndef MDB_OVERLAPPINGSYNC
	if (findTrackedEnv(path, flags))
		rc = EXISTING_ENV_FOUND;
	else {
		rc = mdb_env_open(env, path, flags, permissionsMode);
		mdb_filehandle_t fd;
		if (rc == 0 && mdb_env_get_fd(env, &fd) == 0)
			checkExistingEnvs(fd, env);
	}
#else
	rc = mdb_env_open(env, path, flags, permissionsMode);
#endif
`,
    },
    {
      from: 'void EnvWrap::setupExports(Napi::Env env, Object exports) {\n',
      to: `${PUT_MANY}void EnvWrap::setupExports(Napi::Env env, Object exports) {\n`,
    },
    {
      from: '		EnvWrap::InstanceMethod("getWriteTxnId", &EnvWrap::getWriteTxnId),\n',
      to: `		EnvWrap::InstanceMethod("getWriteTxnId", &EnvWrap::getWriteTxnId),
		Napi::ClassPropertyDescriptor<EnvWrap>(
			{ "putMany", nullptr, putMany, nullptr, nullptr, nullptr, napi_default, nullptr }),
`,
    },
    {
      // A write transaction that cannot begin went on without one, and nobody could tell why.
      from: '			mdb_txn_begin(env, nullptr, flags & 0xf0000, &txn);\n',
      to: `			int rc = mdb_txn_begin(env, nullptr, flags & 0xf0000, &txn);
			if (rc != 0) {
				pthread_mutex_unlock(this->writingLock);
				return throwLmdbError(info.Env(), rc);
			}
`,
    },
  ],
};

// The addon's sources ask for the version of V8's API by these three numbers; node-gyp would take them from
// a header download. They only choose between code paths that are all plain Node-API.
function writeNodeVersionHeader(folder) {
  const [major, minor, patch] = process.versions.node.split('.');
  fs.writeFileSync(
    path.join(folder, 'node_version.h'),
    `#define NODE_MAJOR_VERSION ${major}\n#define NODE_MINOR_VERSION ${minor}\n#define NODE_PATCH_VERSION ${patch}\n` +
      `#define NODE_VERSION_AT_LEAST(a,b,c) (${major}*10000+${minor}*100+${patch} >= (a)*10000+(b)*100+(c))\n`,
  );
}

/** Where the source is one that we change, the changed copy; a package whose text is another one is refused. */
function patched(source, folder) {
  const original = path.join(lmdbRoot, source);
  const patches = PATCHES[source];
  if (patches === undefined) {
    return original;
  }
  let text = fs.readFileSync(original, 'utf8');
  for (const { from, to } of patches) {
    if (text.split(from).length !== 2) {
      throw new Error(
        `cannot build lmdb: ${source} of this version does not contain what we change ("${from.trim()}").\n` +
          'Try: npm ci, which installs the version that this project was made for.',
      );
    }
    text = text.replace(from, () => to);
  }
  const copy = path.join(folder, path.basename(source));
  fs.writeFileSync(copy, text);
  return copy;
}

async function requireCompilers() {
  for (const compiler of [cc, cxx]) {
    try {
      await run(compiler, ['--version']);
    } catch {
      throw new Error(
        `cannot build lmdb: no C/C++ compiler (${compiler} not found).\n` +
          'Try: apt-get install gcc g++   (or set CC and CXX), then run npm ci again.',
      );
    }
  }
}

async function main() {
  const { version } = require(path.join(lmdbRoot, 'package.json'));
  const recipe = createHash('sha256')
    .update(fs.readFileSync(__filename))
    .digest('hex')
    .slice(0, 16);
  const wanted = `lmdb ${version} data-v1 ${process.arch} ${recipe}\n`;
  if (fs.existsSync(target) && fs.existsSync(stamp) && fs.readFileSync(stamp, 'utf8') === wanted) {
    return;
  }

  await requireCompilers();
  const startedMs = Date.now();
  const objects = fs.mkdtempSync(path.join(os.tmpdir(), 'build-lmdb-'));
  try {
    writeNodeVersionHeader(objects);
    const fileOf = new Map(SOURCES.map((source) => [source, patched(source, objects)]));
    const includes = [
      require('node-api-headers').include_dir,
      path.dirname(require.resolve('node-addon-api', { paths: [lmdbRoot] })),
      path.join(lmdbRoot, 'dependencies/lz4/lib'),
      path.join(lmdbRoot, FORMAT_SOURCES),
      path.join(lmdbRoot, 'src'),
      objects,
    ].map((folder) => `-I${folder}`);
    const defines = DEFINES.map((define) => `-D${define}`);
    const objectOf = (source) => path.join(objects, `${source.replace(/\W/g, '_')}.o`);
    const queue = [...SOURCES];
    const compileRest = async () => {
      for (let source = queue.shift(); source !== undefined; source = queue.shift()) {
        const isCxx = source.endsWith('.cpp');
        const flags = [...(isCxx ? CXX_FLAGS : []), ...COMMON_FLAGS, ...defines, ...includes];
        await run(isCxx ? cxx : cc, [...flags, '-c', fileOf.get(source), '-o', objectOf(source)]);
      }
    };
    await Promise.all(Array.from({ length: os.availableParallelism() }, compileRest));
    fs.mkdirSync(path.dirname(target), { recursive: true });
    const linked = path.join(objects, 'lmdb.node');
    await run(cxx, [
      '-shared',
      '-pthread',
      '-fPIC',
      '-fvisibility=hidden',
      ...SOURCES.map(objectOf),
      '-o',
      linked,
    ]);
    // Copy then rename: a process that has the old addon mapped keeps its file.
    fs.copyFileSync(linked, `${target}.tmp`);
    fs.renameSync(`${target}.tmp`, target);
    // Likewise, for a copy of node_modules that shares its files.
    fs.writeFileSync(`${stamp}.tmp`, wanted);
    fs.renameSync(`${stamp}.tmp`, stamp);
    console.log(
      `lmdb built for the v1 data format in ${((Date.now() - startedMs) / 1000).toFixed(1)} s`,
    );
  } finally {
    fs.rmSync(objects, { recursive: true, force: true });
  }
}

main().catch((error) => {
  console.error(error.stderr ? String(error.stderr).slice(0, 3000) : `Error: ${error.message}`);
  process.exit(1);
});
