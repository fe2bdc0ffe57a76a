// On Node 20 the AWS SDK warns of its own future releases in eight lines for each test file: storage/sdk-warning.ts.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';

// One fast transform for all. `npm test` runs the first two projects together, which need nothing but npm and a compiler:
// while one test waits for a process, another one computes.
const common = {
  testEnvironment: 'node',
  transform: {
    '^.+\\.[cm]?ts$': [
      '@swc/jest',
      { jsc: { target: 'es2022', parser: { syntax: 'typescript' } }, module: { type: 'commonjs' } },
    ],
  },
  moduleFileExtensions: ['ts', 'js', 'cjs', 'mjs', 'json', 'node'],
};

module.exports = {
  // Jest leaves one core free, which is one of two. Faults and e2e run in band: package.json.
  maxWorkers: '100%',
  // Property tests are CPU alone; two loaded cores took ten times as long as a quiet machine. No test asserts a time.
  testTimeout: 60_000,
  projects: [
    {
      ...common,
      displayName: 'unit',
      globalSetup: '<rootDir>/test/support/setup/memory-folder.cjs',
      testMatch: ['<rootDir>/test/**/*.test.ts'],
      testPathIgnorePatterns: ['/node_modules/', '<rootDir>/test/(e2e|faults|integration)/'],
    },
    {
      // Real processes of the bundle, which is made anew before the first one.
      ...common,
      displayName: 'integration',
      testMatch: ['<rootDir>/test/integration/**/*.test.ts'],
      globalSetup: '<rootDir>/test/support/setup/processes.cjs',
    },
    {
      // Real processes that are killed or get signals, locks that are held, files that are replaced, resources that are missing.
      ...common,
      displayName: 'faults',
      testMatch: ['<rootDir>/test/faults/**/*.test.ts'],
      globalSetup: '<rootDir>/test/support/bundle-setup.cjs',
    },
    { ...common, displayName: 'e2e', testMatch: ['<rootDir>/test/e2e/**/*.test.ts'] },
  ],
};
