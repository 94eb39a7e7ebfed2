const { jest } = require('../../package.json');

// Every test, in suites that share their modules; `npx jest FILE` runs the tests of a file alone.
module.exports = {
  ...jest,
  rootDir: '../..',
  testMatch: ['<rootDir>/tests/**/*.suite.ts', '<rootDir>/tests/**/*.alone.test.ts'],
};
