import { readFileSync } from 'node:fs';
import { projectFile } from '../../src/contract/document';
import { HTTP_LIMITS } from '../../src/http/server';

test('HAProxy keeps idle connections of callers for longer than the service tells them', () => {
  const [, seconds] =
    /^ +timeout http-keep-alive (\d+)s$/m.exec(readFileSync(projectFile('deploy/haproxy/haproxy.cfg'), 'utf8')) ?? [];
  expect(Number(seconds) * 1_000).toBeGreaterThan(HTTP_LIMITS.keepAliveTimeout);
});
