// Tests of real processes run the bundle; a stale one would test yesterday's source.
'use strict';

const { execFileSync } = require('node:child_process');
const path = require('node:path');

module.exports = () => {
  const script = path.join(__dirname, '../../agent/build/bundle.mjs');
  execFileSync(process.execPath, [script], { stdio: ['ignore', 'ignore', 'inherit'] });
};
