import { Writable } from 'node:stream';
import { createLog } from '../../src/log';
import { type SandboxCpo, startSandboxCpo } from '../../src/sandbox/cpo';

let cpo: SandboxCpo;
beforeAll(async () => {
  const quiet = new Writable({ write: (_chunk, _encoding, done) => done() });
  cpo = await startSandboxCpo(0, 'token', createLog('error', quiet));
});
afterAll(() => cpo.stop());

test.each(['hasOwnProperty', '__proto__', 'constructor', 'toString', '000499', '400000'])(
  'the code %s is an incorrect one',
  async (code) => {
    const answer = await fetch(`${cpo.url}/v1/cpo/ocpp2.0.1/pair`, {
      method: 'POST',
      headers: { Authorization: 'Bearer token', 'Content-Type': 'application/json' },
      body: JSON.stringify({ code }),
    });
    expect([answer.status, await answer.json()]).toEqual([
      404,
      { message: 'Incorrect Code, please check the code and try again.' },
    ]);
  },
);
