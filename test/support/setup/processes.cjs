// For tests that start processes of the bundle.
'use strict';

const makeBundle = require('../bundle-setup.cjs');
const useMemoryFolder = require('./memory-folder.cjs');

module.exports = () => {
  useMemoryFolder();
  makeBundle();
};
