import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { run } from '../../src/cli';

/** A command of `scsp` in this process, with these settings and no others, and this on standard input. */
export async function command(settings: Record<string, string>, args: readonly string[], input: Iterable<string> = []) {
  const said = { stdout: '', stderr: '' };
  const into = (name: keyof typeof said) =>
    new Writable({
      write(chunk, _encoding, done) {
        said[name] += chunk;
        done();
      },
    });
  const env = { DATA_DIR: join(tmpdir(), 'scsp-of-no-use'), ...settings };
  const stopSignal = () => new AbortController().signal;
  const shell = { env, stdin: Readable.from(input), stdout: into('stdout'), stderr: into('stderr'), stopSignal };
  return { code: await run(args, shell), ...said };
}
