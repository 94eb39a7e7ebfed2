import { readFileSync } from 'node:fs';
import { projectFile } from '../../src/contract/document';
import { HTTP_LIMITS } from '../../src/http/server';

const [, frontend = ''] = readFileSync(projectFile('deploy/haproxy/haproxy.cfg'), 'utf8').split(
  /^(?=frontend|backend)/m,
);

test('a reload of HAProxy closes no idle connection of a caller without telling it', () =>
  expect(frontend).toMatch(/^ +option idle-close-on-response$/m));

test.each(['client', 'http-keep-alive'])(
  'HAProxy keeps idle connections of callers for longer than the service tells them: timeout %s',
  (name) => {
    const [, seconds] = new RegExp(`^ +timeout ${name} (\\d+)s$`, 'm').exec(frontend) ?? [];
    expect(Number(seconds) * 1_000).toBeGreaterThan(HTTP_LIMITS.keepAliveTimeout);
  },
);
