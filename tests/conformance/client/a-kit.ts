import { Readable, Writable } from 'node:stream';
import { run } from '../../../src/cli';
import { endLater } from '../../harness/clean-up';

/** Starts `scsp conformance client` in this process; resolves when it has printed its address and token. */
export async function startKit(...args: string[]) {
  const stop = new AbortController();
  const said = { stdout: '', stderr: '' };
  const waiting = new Set<() => void>();
  const into = (name: keyof typeof said) =>
    new Writable({
      write(chunk, _encoding, done) {
        said[name] += chunk;
        for (const look of waiting) look();
        done();
      },
    });
  const shell = {
    env: {},
    stdin: Readable.from([]),
    stdout: into('stdout'),
    stderr: into('stderr'),
    stopSignal: () => stop.signal,
  };
  const ended = run(['conformance', 'client', '--port', '0', ...args], shell);
  /** Waits for a text in either output. */
  const saying = (wanted: RegExp) =>
    new Promise<RegExpExecArray>((resolve, reject) => {
      const look = () => {
        const found = wanted.exec(said.stdout + said.stderr);
        if (found === null) return;
        waiting.delete(look);
        resolve(found);
      };
      waiting.add(look);
      look();
      void ended.then((code) => reject(new Error(`ended with ${code} without saying ${wanted}: ${said.stderr}`)));
    });
  const end = () => {
    stop.abort();
    return ended;
  };
  endLater(end);
  const [, url = '', token = ''] = await saying(/^address {2}(\S+)\ntoken {4}(\S+)\n/m);
  return { url, token, said, saying, ended, end };
}
