import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { type Harness, startHarness } from '../harness/harness';

let service: Harness;
let sandbox: Harness;
let elsewhere: Harness;
beforeAll(async () => {
  service = await startHarness();
  sandbox = await startHarness({ SANDBOX: 'true' });
  elsewhere = await startHarness({ PUBLIC_URL: 'https://pairing.example/scsp' });
});
afterAll(() => Promise.all([service?.stop(), sandbox?.stop(), elsewhere?.stop()]));

const ENTITIES: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'" };
const decoded = (html: string) => html.replace(/&(amp|lt|gt|quot|#39);/g, (_all, name) => ENTITIES[name] ?? '');

/** The commands of the first page, in their order. */
async function commandsOf(at: Harness): Promise<string[]> {
  const port = at.log.lines.find(({ message }) => message === 'listening')?.port;
  const body = await (await fetch(`http://127.0.0.1:${port}/`)).text();
  return [...body.matchAll(/<pre tabindex="0"><code>([\s\S]*?)<\/code>/g)].map(([, html = '']) => decoded(html));
}

/** Runs commands as somebody who pastes them would, and returns what they print. */
async function run(script: string, env: Record<string, string> = {}): Promise<string> {
  const shell = spawn('sh', ['-c', script], {
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return text(shell.stdout);
}

test('a CPO sees who it is, and pairs with a code', async () => {
  const cpo = await service.cpo();
  const commands = await commandsOf(service);
  const [me = '', pair = ''] = ['/v1/scsp/me', '/pair'].map((path) =>
    commands.find((command) => command.includes(path)),
  );
  expect(JSON.parse(await run(me, { TOKEN: cpo.token })).cpo.id).toBe(cpo.id);
  expect(JSON.parse(await run(pair, { TOKEN: cpo.token })).type).toBe('/problems/incorrect-code');
  const { code } = await service.code();
  expect(JSON.parse(await run(pair.replace('000000', code), { TOKEN: cpo.token })).message).toContain(
    'successfully paired',
  );
});

test('an app sees the CPOs to choose from', async () => {
  const command = (await commandsOf(service)).find((text) => text.includes('/v1/app/cpos')) ?? '';
  expect(JSON.parse(await run(command, { TOKEN: service.appToken }))).toHaveProperty('items');
});

test('the commands name the public address of the service where it is known', async () => {
  for (const command of (await commandsOf(elsewhere)).filter((text) => text.includes('curl')))
    expect(command).toContain('curl -s https://pairing.example/scsp/v1/');
});

test('the whole script of a sandbox creates a CPO, pairs a station and unpairs it', async () => {
  const commands = await commandsOf(sandbox);
  expect(commands[0]).toMatch(new RegExp(`^URL=${sandbox.url}\\n.*/v1/sandbox/cpos`));
  const [created = '', ...answers] = (await run(commands.join('; echo; '))).trim().split('\n');
  const { token, cpo } = JSON.parse(created);
  sandbox.secrets.add(token);
  expect(cpo.name).toBe('My CPO');
  expect(answers.filter(Boolean).map((answer) => JSON.parse(answer).message)).toEqual([
    'Charging station successfully paired.',
    'Charging station successfully unpaired.',
  ]);
  const { body } = await sandbox.request('GET', '/v1/scsp/attempts', { token });
  expect(body.items).toMatchObject([{ uid: 'first-station', outcome: 'paired' }]);
});

test('a sandbox goes on to the calls in the other direction and to the checks of both', async () => {
  const body = (await sandbox.request('GET', '/')).body.split('id="sequences"')[0];
  for (const href of [
    'guides/sandbox#let-the-sandbox-call-your-backend',
    'guides/cpo#an-endpoint-to-begin-with',
    'guides/sandbox#certify-your-backend',
    'guides/conformance#the-checks',
  ])
    expect(body).toContain(`href="${href}"`);
});

test('only a sandbox begins with a CPO of your own', async () => {
  expect((await commandsOf(service)).join()).not.toContain('sandbox');
});
