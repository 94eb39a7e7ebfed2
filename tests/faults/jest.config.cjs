const { jest } = require('../../package.json');

/** Apart from `npm test`: what takes its time, because time-outs and crashes do. */
module.exports = {
  ...jest,
  rootDir: '../..',
  testMatch: ['<rootDir>/tests/{faults,upgrade}/**/*.faults.ts'],
  testTimeout: 300_000,
  maxWorkers: 1,
};
