import { sendJson, startCpo } from '../harness/a-cpo';
import { FAST, withSandboxCpo } from '../harness/certification';
import { type Answer, type Harness, startHarness } from '../harness/harness';
import { leaks } from '../harness/leaks';
import { type PageSession, postForm, signInOnPage } from '../harness/page-session';
import { pairBy, signUp, uidsOf } from '../harness/self-service';
import { until } from '../harness/until';

let service: Harness;
/** Reached by https through a proxy. */
let hosted: Harness;
let production: Harness;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' }, { certification: FAST });
  hosted = await startHarness({ SANDBOX: 'true', PUBLIC_URL: 'https://sandbox.example' });
  production = await startHarness();
});
afterAll(() => Promise.all([service?.stop(), hosted?.stop(), production?.stop()]));

const ENTITIES: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'" };
const decoded = (text: string) => text.replace(/&(amp|lt|gt|quot|#39);/g, (_all, name) => ENTITIES[name] ?? '');
const tokenIn = ({ body }: Answer) => /scsp_cpo_[\w-]{43}/.exec(body)?.[0] ?? '';
const localUrl = ({ log }: Harness) =>
  `http://127.0.0.1:${log.lines.find(({ message }) => message === 'listening')?.port}`;

async function createdOnPage(name = 'Station Works'): Promise<Answer> {
  await service.sql.query('delete from sandbox_sign_ups');
  const answer = await postForm(service, '/sandbox/cpos', { name });
  service.secrets.add(tokenIn(answer));
  return answer;
}

async function signedIn(): Promise<PageSession & { cpo: Awaited<ReturnType<typeof signUp>> }> {
  const cpo = await signUp(service);
  return { ...(await signInOnPage(service, cpo.token)), cpo };
}

describe('the token', () => {
  test('is shown by the answer that creates the CPO, in commands, and by no page with an address', async () => {
    const created = await createdOnPage();
    expect([created.status, created.headers.get('Cache-Control')]).toEqual([201, 'no-store']);
    const token = tokenIn(created);
    expect(decoded(created.body)).toContain(`-H "Authorization: Bearer ${token}"`);
    const cookie = created.headers.getSetCookie()[0]?.split(';')[0] ?? '';
    const page = await service.request('GET', '/sandbox', { headers: { Cookie: cookie } });
    expect(page.body).toContain('Station Works');
    expect(page.body).not.toContain(token);
    expect(page.headers.get('Cache-Control')).toBe('no-store');
  });

  test('is shown again when its owner asks', async () => {
    const { cpo, post } = await signedIn();
    const shown = await post('token');
    expect([shown.status, shown.headers.get('Cache-Control'), tokenIn(shown)]).toEqual([200, 'no-store', cpo.token]);
  });

  test('stands in no address', async () => {
    const { cpo, post, get } = await signedIn();
    await pairBy(service, cpo, '100001', { uid: 'a-station' });
    const answers = [await get(), await post('token'), await post('unpairs', { uid: 'a-station' })];
    const addresses = answers.flatMap(({ body, headers }) => [
      headers.get('Location') ?? '',
      ...[...String(body).matchAll(/(?:href|action|src)="([^"]*)"/g)].map(([, address = '']) => address),
    ]);
    expect(addresses.length).toBeGreaterThan(20);
    expect(addresses.filter((address) => address.includes('scsp_cpo_'))).toEqual([]);
    expect(service.log.lines.some((line) => JSON.stringify(line).includes(cpo.token))).toBe(false);
  });
});

describe('the cookie', () => {
  test('is HttpOnly and SameSite=Strict, and lasts as long as the token', async () => {
    const { token } = await signUp(service);
    const [cookie = ''] = (await postForm(service, '/sandbox/session', { token })).headers.getSetCookie();
    const [pair, ...attributes] = cookie.split('; ');
    expect(pair).toBe(`scsp-sandbox=${token}`);
    expect(attributes.sort()).toEqual([expect.stringMatching(/^Expires=/), 'HttpOnly', 'Path=/', 'SameSite=Strict']);
  });

  test('is Secure and __Host- where the service is reached by https', async () => {
    const { token } = await hosted.cpo();
    const answer = await fetch(`${localUrl(hosted)}/sandbox/session`, {
      method: 'POST',
      redirect: 'manual',
      headers: { Origin: 'https://sandbox.example' },
      body: new URLSearchParams({ token }),
    });
    const [cookie = ''] = answer.headers.getSetCookie();
    expect(cookie).toMatch(/^__Host-scsp-sandbox=/);
    expect(cookie.split('; ').slice(1).sort()).toEqual([
      expect.stringMatching(/^Expires=/),
      'HttpOnly',
      'Path=/',
      'SameSite=Strict',
      'Secure',
    ]);
    const plain = await fetch(`${localUrl(hosted)}/sandbox`, { headers: { Cookie: `scsp-sandbox=${token}` } });
    expect(await plain.text()).toContain('Create a CPO');
  });

  test('does not authenticate the API, nor does a header authenticate the page', async () => {
    const { cpo, cookie } = await signedIn();
    const api = await service.request('GET', '/v1/scsp/me', { headers: { Cookie: cookie } });
    expect(api.status).toBe(401);
    expect((await service.request('GET', '/sandbox', { token: cpo.token })).body).not.toContain('Station Works');
  });

  test('of a token that is not valid any more is removed, and the page says so', async () => {
    const { cpo, get, post } = await signedIn();
    await service.sql.query('update tokens set revoked_at = now() where cpo_id = $1', [cpo.id]);
    const page = await until(({ body }) => body.includes('not valid any more'), get);
    expect(page.headers.getSetCookie()[0]).toMatch(/^scsp-sandbox=; .*Expires=Thu, 01 Jan 1970/);
    expect((await post('token')).status).toBe(403);
  });

  test('is removed by signing out', async () => {
    const { post } = await signedIn();
    const answer = await post('sign-out');
    expect([answer.status, answer.headers.get('Location')]).toEqual([303, '../sandbox?done=signed-out']);
    expect(answer.headers.getSetCookie()[0]).toMatch(/^scsp-sandbox=;/);
  });
});

describe('a form', () => {
  const FORMS: [string, Record<string, string>][] = [
    ['token', {}],
    ['sign-out', {}],
    ['unpairs', { uid: 'a-station' }],
    ['endpoint', { base_url: 'http://localhost:9', token: 'x' }],
    ['test-redemptions', { code: '1', payload_protocol: 'ocpp2.0.1' }],
    ['test-unpairs', { uid: 'a-station' }],
    ['certification-runs', { codes: '' }],
  ];

  test.each(FORMS)('%s is refused without the token of its session', async (action, fields) => {
    const { post } = await signedIn();
    const other = await signedIn();
    for (const form_token of ['', 'x', other.formToken]) {
      const answer = await post(action, { ...fields, form_token });
      expect([answer.status, answer.body.includes('Form refused')]).toEqual([403, true]);
    }
    expect((await post(action, fields)).status).not.toBe(403);
  });

  test.each([...FORMS, ['cpos', { name: 'x' }] as const, ['session', { token: 'x' }] as const])(
    '%s is refused when another site sends it',
    async (action, fields) => {
      const { post } = await signedIn();
      const foreign: Record<string, string>[] = [
        { Origin: 'https://elsewhere.example' },
        { Origin: 'null' },
        { Origin: service.url, 'Sec-Fetch-Site': 'cross-site' },
        { Origin: service.url, 'Sec-Fetch-Site': 'same-site' },
      ];
      for (const headers of foreign) expect((await post(action, fields, headers)).status).toBe(403);
      const withoutEither = await service.request('POST', `/sandbox/${action}`, {
        raw: new URLSearchParams({ ...fields, form_token: 'x' }).toString(),
        headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
      });
      expect(withoutEither.status).toBe(403);
    },
  );

  test.each(FORMS)('%s is refused without a session', async (action, fields) => {
    const { formToken } = await signedIn();
    const answer = await postForm(service, `/sandbox/${action}`, { ...fields, form_token: formToken });
    expect([answer.status, answer.body.includes('You are not signed in')]).toEqual([403, true]);
  });

  test('is bounded, and is no JSON', async () => {
    const { post, cookie } = await signedIn();
    expect((await post('token', { more: 'x'.repeat(4_096) })).status).toBe(413);
    const json = await service.request('POST', '/sandbox/token', { body: {}, headers: { Cookie: cookie } });
    expect(json.status).toBe(415);
    const nul = await post('session', { token: 'a\0' });
    expect([nul.status, nul.body.includes('NUL character')]).toEqual([400, true]);
  });

  test('that is invalid gets a page that says what to do, without the value', async () => {
    const { post } = await signedIn();
    const answer = await post('endpoint', { base_url: 'http://localhost:9', token: 'my secret' });
    expect([answer.status, answer.headers.get('Content-Type')]).toEqual([400, 'text/html; charset=utf-8']);
    expect(answer.body).toContain('must be a bearer token');
    expect(answer.body).toContain('href="../sandbox"');
    expect(answer.body).not.toContain('my secret');
  });

  test('may be sent to this service only, and pages without forms may send none', async () => {
    const policy = async (path: string) =>
      (await service.request('GET', path)).headers.get('Content-Security-Policy') ?? '';
    expect(await policy('/sandbox')).toContain("form-action 'self'");
    expect(await policy('/')).toContain("form-action 'none'");
    expect((await service.request('GET', '/sandbox')).headers.get('Referrer-Policy')).toBe('same-origin');
  });
});

test('a token that is none, or of an app, does not sign in', async () => {
  for (const token of ['x', service.appToken]) {
    const answer = await postForm(service, '/sandbox/session', { token });
    expect([answer.status, answer.headers.getSetCookie()]).toEqual([400, []]);
    expect(answer.body).toContain('must be a valid token of a CPO');
    expect(answer.body).not.toContain(service.appToken);
  }
});

test('the page shows each attempt with every validation error', async () => {
  const { cpo, get } = await signedIn();
  await pairBy(service, cpo, '100001', { uid: 'good-station' });
  await service.request('POST', '/v1/scsp/ocpp2.0.1/pair', {
    token: cpo.token,
    body: { code: '100002', charging_station: { uid: 'bad-station', evses: [{}] } },
  });
  const { body } = await until(({ body }) => body.includes('bad-station'), get);
  expect(body).toContain('200 paired');
  expect(body).toContain('400 invalid-request');
  expect(body).toContain('/charging_station/evses/0/evse_id is required');
  expect(body).toContain('/charging_station/evses/0/connectors is required');
});

test('however many validation errors an answer has, the page shows all of them', async () => {
  const { cpo, get } = await signedIn();
  const evses = Array.from({ length: 60 }, () => ({}));
  const { body: answer } = await service.request('POST', '/v1/scsp/ocpp2.0.1/pair', {
    token: cpo.token,
    body: { code: '100002', charging_station: { uid: 'worst-station', evses } },
  });
  expect(answer.errors).toHaveLength(100);
  const { body } = await until(({ body }) => body.includes('worst-station'), get);
  expect(body.match(/<li>\/charging_station\/evses\/\d+\/\w+ is required<\/li>/g)).toHaveLength(100);
});

test('names and uids are text, whatever is in them', async () => {
  const { cpo, get } = await (async () => {
    const cpo = await signUp(service, '<script>alert(1)</script>"\'&');
    return { cpo, ...(await signInOnPage(service, cpo.token)) };
  })();
  await pairBy(service, cpo, '100001', { uid: '"><img src=x onerror=1>' });
  const { body } = await get();
  expect(body).toContain('&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;');
  expect(body).toContain('value="&quot;&gt;&lt;img src=x onerror=1&gt;"');
  expect(body).not.toContain('<script>alert');
  expect(body).not.toContain('<img src=x');
  expect((await get('/sandbox?done=redeemed&outcome=%3Cscript%3E')).body).not.toContain('<script>');
});

test('a station is unpaired with a button', async () => {
  const { cpo, post } = await signedIn();
  await pairBy(service, cpo, '100001', { uid: 'a-station' });
  const answer = await post('unpairs', { uid: 'a-station' });
  expect([answer.status, answer.headers.get('Location')]).toEqual([303, '../sandbox?done=unpaired#stations']);
  expect(await uidsOf(service, cpo)).toEqual([]);
  expect((await post('unpairs', { uid: 'a-station' })).status).toBe(404);
});

test('an endpoint is set, redeems a code and is notified, with what was wrong', async () => {
  const backend = await startCpo(service, (res) => sendJson(res, 200, { charging_station: {} }));
  const { cpo, post, get } = await signedIn();
  const none = await post('test-redemptions', { code: '123456', payload_protocol: 'ocpp2.0.1' });
  expect([none.status, none.body.includes('no endpoint')]).toEqual([409, true]);

  const set = await post('endpoint', { base_url: backend.url, token: backend.outboundToken });
  expect([set.status, set.headers.get('Location')]).toEqual([303, '../sandbox?done=endpoint-set#endpoint']);
  expect((await get()).body).toContain(`This server calls <code>${backend.url}</code>`);
  expect((await get()).body).not.toContain(backend.outboundToken);

  const redeemed = await post('test-redemptions', { code: '123456', payload_protocol: 'ocpp2.0.1' });
  expect(redeemed.status).toBe(303);
  expect(redeemed.headers.get('Location')).toBe('../sandbox?done=redeemed&outcome=cpo-failed#calls');
  const { body } = await until(({ body }) => body.includes('200 invalid-answer'), get);
  expect(body).toContain('<code>/charging_station/uid</code> is required');

  await pairBy(service, cpo, '100001', { uid: 'a-station' });
  backend.answer = (res) => sendJson(res, 500, {});
  expect((await post('test-unpairs', { uid: 'a-station' })).headers.get('Location')).toBe(
    '../sandbox?done=test-unpaired#calls',
  );
  const notified = await until(
    ({ body }) => body.includes('Unpair calls that wait') && body.includes('500 rejected'),
    get,
  );
  expect(notified.body).toMatch(/Unpair calls that wait for you[\s\S]*<bdi>a-station<\/bdi>/);
});

test('the checks are run with the codes of the form, and each has its verdict', async () => {
  const cpo = await withSandboxCpo(service);
  const { post, get } = await signInOnPage(service, cpo.token);
  expect((await get()).body).toMatch(/\d+ not run/);
  for (const codes of ['no JSON', '[]', '{"good": "123456"}']) {
    const refused = await post('certification-runs', { codes });
    expect([refused.status, refused.body.includes('123456')]).toEqual([400, false]);
  }
  const started = await post('certification-runs', { codes: '{"good": ["111111", "111112"], "used": "000404"}' });
  expect([started.status, started.headers.get('Location')]).toEqual([303, '../sandbox?done=run-started#certification']);
  const { body } = await until(({ body }) => body.includes('has ended:'), get);
  expect(body).toMatch(/id="check-cpo-auth-missing-token">\s*<summary><span class="status good">passed/);
  expect(body).toMatch(/id="check-client-[^"]+">\s*<summary><span class="status">not run/);
  expect(leaks(body, ['111111'])).toEqual([]);
  expect(body).toContain('A code is redeemed in ocpp1.6: 200 with <code>charging_station</code>');
  expect(body).not.toContain('`');
});

test('the forms have the limits of the API', async () => {
  const { cpo, post } = await signedIn();
  const fields = { base_url: 'http://localhost:9', token: 'x' };
  for (let i = 0; i < 9; i++) expect((await post('endpoint', fields)).status).toBe(303);
  const api = () =>
    service.request('PUT', '/v1/scsp/me/endpoint', { token: cpo.token, body: fields }).then(({ status }) => status);
  expect(await api()).toBe(200);
  expect((await post('endpoint', fields)).status).toBe(429);

  await service.sql.query('delete from sandbox_sign_ups');
  for (let i = 0; i < 20; i++) service.secrets.add(tokenIn(await postForm(service, '/sandbox/cpos', { name: 'x' })));
  const refused = await postForm(service, '/sandbox/cpos', { name: 'x' });
  expect([refused.status, refused.body.includes('Too many sandbox CPOs')]).toEqual([429, true]);
});

test('a deployment that is no sandbox has neither the page nor a way to it', async () => {
  for (const path of ['/sandbox', '/docs/sandbox.css', '/docs/sandbox.js'])
    expect((await production.request('GET', path)).status).toBe(404);
  expect((await production.request('GET', '/')).body).not.toContain('href="sandbox"');
  expect((await service.request('GET', '/')).body).toContain('href="sandbox"');
});
