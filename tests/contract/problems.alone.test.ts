import type { Request, RequestHandler } from 'express';
import { operationsOf, readContract, servedBy } from '../../src/contract/document';
import { type ProblemType, problems } from '../../src/contract/problem-types';
import { Problem } from '../../src/problems';
import { sendJson, startCpo } from '../harness/a-cpo';
import { startApp } from '../harness/an-app';
import { bodyOfSchema } from '../harness/body-of-schema';
import { jsonSchema, pairOperations, parametersOf, stationOf } from '../harness/contract-protocols';
import { declaredProblems } from '../harness/declared-problems';
import { type Answer, anIncorrectCode, aStation, type Harness, startHarness, type TestCpo } from '../harness/harness';
import { FORM, type PageSession, signInOnPage } from '../harness/page-session';
import { openRaw } from '../harness/raw-http';

/** A header that makes the handler of any operation fail as the named problem, which no request can provoke. */
const FAIL_AS = 'X-Fail-As';
jest.mock('../../src/http/operations', () => {
  const real = jest.requireActual<typeof import('../../src/http/operations')>('../../src/http/operations');
  const failing =
    (handler: RequestHandler): RequestHandler =>
    (req, res, next) => {
      failAs(req);
      return handler(req, res, next);
    };
  const failAs = (req: Request) => {
    const type = req.get('X-Fail-As');
    if (type === 'internal-error') throw new TypeError('a defect that a test provokes');
    if (type !== undefined) throw new Problem(type as ProblemType);
  };
  return {
    operationHandlers: (...parts: Parameters<typeof real.operationHandlers>) =>
      Object.fromEntries(
        Object.entries(real.operationHandlers(...parts)).map(([id, handler]) => [
          id,
          failing(handler as unknown as RequestHandler),
        ]),
      ),
  };
});

const { document } = readContract();
const declared = declaredProblems(document);
const operations = operationsOf(servedBy(document, 'scsp'));
const pairs = new Map(pairOperations(document, 'scsp').map((one) => [one.operation.id, one]));
type Operation = (typeof operations)[number];
type Response = Pick<Answer, 'status' | 'body'>;

let service: Harness;
/** Takes no request that has a token, nor the files of the pages. */
let full: Harness;
/** Soon loses patience with a slow sender. */
let impatient: Harness;
let cpo: TestCpo;
/** The session of that CPO on the page of the sandbox. */
let session: PageSession;
/** What the app gets when a CPO does not answer: it takes a while, during which the others are provoked. */
let timedOut: Promise<Response>;

beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' });
  full = await startHarness({ SANDBOX: 'true' }, { load: { requestsPerCaller: 0, pages: 0 } });
  impatient = await startHarness(
    {},
    { http: { headersTimeout: 100, requestTimeout: 100, connectionsCheckingInterval: 20 } },
  );
  cpo = await service.cpo();
  session = await signInOnPage(service, cpo.token);
  const silent = await startCpo(service, () => {});
  timedOut = service.redeem(silent, '1');
  await silent.asked(1);
});
afterAll(() => Promise.all([service.stop(), full.stop(), impatient.stop()]));

const rolesOf = ({ operation }: Operation) => (operation.security as { bearer?: string[] }[])[0]?.bearer;
const takesBody = ({ operation }: Operation) => operation.requestBody !== undefined;
const isForm = ({ path }: Operation) => path.startsWith('/sandbox/');
/** Whether an operation is authenticated by the cookie of the page. */
const isSignedIn = (operation: Operation) =>
  operation.path.startsWith('/sandbox') && !is('sandboxSignUpForm', 'sandboxSignInForm')(operation);
const has = (operation: Operation, name: string) => parametersOf(document, operation).some((one) => one.name === name);
const is =
  (...ids: string[]) =>
  ({ id }: Operation) =>
    ids.includes(id);
const pairsHere = ({ id }: Operation) => pairs.has(id);
const redeems = is('redeemCode');
const testsAtCpo = is(
  ...['sandboxTestRedemption', 'sandboxTestUnpair', 'sandboxStartRun'],
  ...['sandboxRedemptionForm', 'sandboxTestUnpairForm', 'sandboxRunForm'],
);
const ofOneEndpoint = ({ path }: Operation) => path.startsWith('/v1/app/webhook-endpoints/{id}');
const redelivers = is('redeliverWebhookEvents');
const always = () => true;

type Sent = {
  token?: string;
  session?: PageSession;
  body?: unknown;
  headers?: Record<string, string>;
  query?: string;
  params?: object;
  raw?: string;
};

/** Sends a request that would be answered with success, but for what is given. */
function send(operation: Operation, sent: Sent = {}, to = service): Promise<Response> {
  const params = { 'payload-protocol': 'ocpp2.0.1', type: 'incorrect-code', ...sent.params };
  const path = operation.path.replace(/\{([^}]+)\}/g, (_all, name) =>
    encodeURIComponent(String(Reflect.get(params, name) ?? `unknown-${name}`)),
  );
  const required = parametersOf(document, operation).filter((one) => one.in === 'query' && one.required);
  const query = sent.query ?? required.map(({ name }) => `${name}=1`).join('&');
  const token = rolesOf(operation)?.includes('cpo') ? (to === service ? cpo.token : '') : to.appToken;
  if (isForm(operation) || isSignedIn(operation)) {
    const { cookie, formToken } = sent.session ?? session;
    const body = sent.body ?? { ...(takesBody(operation) && bodyOf(operation)), form_token: formToken };
    return to.request(operation.method.toUpperCase(), `${path}${query && `?${query}`}`, {
      ...(takesBody(operation) && { raw: sent.raw ?? new URLSearchParams(Object(body)).toString() }),
      headers: { 'Content-Type': FORM, Origin: to.url, Cookie: cookie, ...sent.headers },
    });
  }
  return to.request(operation.method.toUpperCase(), `${path}${query && `?${query}`}`, {
    ...(rolesOf(operation) && { token: sent.token ?? token }),
    ...(takesBody(operation) && sent.raw === undefined && { body: sent.body ?? bodyOf(operation) }),
    ...(sent.raw !== undefined && { raw: sent.raw }),
    ...(sent.headers && { headers: sent.headers }),
  });
}

let count = 0;
/** A valid body of an operation, with a station of its own. */
function bodyOf(operation: Operation): Record<string, unknown> {
  const body = bodyOfSchema(document, jsonSchema(document, operation, 'request'), 'required members only');
  count += 1;
  const pair = pairs.get(operation.id);
  const { member } = pair === undefined ? { member: '' } : stationOf(document, pair);
  const station = Reflect.get(Object(body), member);
  return { ...Object(body), ...(station !== undefined && { [member]: { ...station, uid: `S-${count}` } }) };
}

/** Says to an operation what `fetch` cannot say. */
async function sendRaw(operation: Operation, head: string): Promise<Response> {
  const raw = await openRaw(service.url);
  raw.socket.write(`${operation.method.toUpperCase()} ${operation.path.replace(/[{}]/g, '')} HTTP/1.1\r\n${head}\r\n`);
  const [answer] = await raw.answers(1);
  raw.socket.destroy();
  return answer ?? { status: 0, body: 'no answer' };
}

/** Sends a request again and again until it is refused with this status. */
async function untilRefused(status: number, ask: () => Promise<Response>): Promise<Response> {
  for (let i = 0; i < 50; i++) {
    const answer = await ask();
    if (answer.status === status) return answer;
  }
  throw new Error(`not refused with ${status}`);
}

/** A pairing by any operation that pairs: with a station, and a code of either party. */
async function pairOnce(operation: Operation, sent: { uid?: string; code?: string; key?: string } = {}) {
  const headers = new Map(sent.key === undefined ? [] : [['Idempotency-Key', sent.key]]);
  const { uid = `P-${++count}` } = sent;
  if (redeems(operation)) {
    const station = { charging_station: aStation(uid) };
    const theirs = await startCpo(service, (res) => sendJson(res, 200, station));
    const body = {
      user_id: `U-${++count}`,
      charging_location_id: '1',
      cpo_id: theirs.id,
      payload_protocol: 'ocpp2.0.1',
    };
    return send(operation, { body: { ...body, code: sent.code ?? '1' }, headers: Object.fromEntries(headers) });
  }
  const body = bodyOf(operation);
  const { member } = stationOf(document, pairs.get(operation.id) as never);
  const code = sent.code ?? (await service.code()).code;
  return send(operation, {
    body: { code, [member]: { ...Object(body[member]), uid } },
    headers: Object.fromEntries(headers),
  });
}

type Provocation = {
  /** Which operations may answer it. */
  readonly by: (operation: Operation) => boolean;
  readonly run: (operation: Operation) => Promise<Response>;
};
const failAs = (type: ProblemType) => (operation: Operation) => send(operation, { headers: { [FAIL_AS]: type } });
const none = (): never => {
  throw new Error('no operation answers this');
};

/** Redeems with a CPO that answers so. */
async function redeemAt(operation: Operation, status: number, user_id = `U-${++count}`) {
  const theirs = await startCpo(service, (res) => sendJson(res, status, {}));
  return () =>
    send(operation, { body: { ...bodyOf(operation), user_id, cpo_id: theirs.id, payload_protocol: 'ocpp2.0.1' } });
}

/** How each problem is provoked; the compiler reports one that is missing. */
const PROVOCATIONS: Record<ProblemType, Provocation> = {
  'malformed-request': { by: always, run: (operation) => sendRaw(operation, 'Host: a\r\nHost: b\r\n') },
  'invalid-request': {
    by: (operation) => invalidQuery(operation) !== undefined || takesBody(operation),
    run: (operation) =>
      send(
        operation,
        takesBody(operation) ? { body: invalidBody(operation) } : { query: invalidQuery(operation) ?? '' },
      ),
  },
  'unsupported-protocol': {
    by: (operation) => has(operation, 'payload-protocol'),
    run: (operation) => send(operation, { params: { 'payload-protocol': 'ocpp9' } }),
  },
  'missing-token': { by: (operation) => !!rolesOf(operation), run: (operation) => sendRaw(operation, 'Host: a\r\n') },
  'invalid-token': {
    by: (operation) => !!rolesOf(operation),
    run: (operation) => send(operation, { token: 'unknown' }),
  },
  'wrong-role': {
    by: (operation) => !!rolesOf(operation),
    run: (operation) => send(operation, { token: rolesOf(operation)?.includes('cpo') ? service.appToken : cpo.token }),
  },
  'cpo-suspended': {
    by: (operation) => rolesOf(operation)?.includes('cpo') ?? false,
    async run(operation) {
      const suspended = await service.cpo();
      await service.sql.query(`update cpos set suspended_at = now() where id = $1`, [suspended.id]);
      return untilRefused(403, () => send(operation, { token: suspended.token }));
    },
  },
  'form-refused': {
    by: isForm,
    run: (operation) => send(operation, { headers: { Origin: 'https://elsewhere.example' } }),
  },
  'not-found': {
    by: (operation) =>
      is(
        'followCode',
        'cancelCode',
        'getEvent',
        'guide',
        'problem',
        'sandboxGetEndpoint',
        'sandboxFollowRun',
      )(operation) || ofOneEndpoint(operation),
    run: (operation) =>
      send(operation, {
        params: { id: 'x', type: 'x' },
        ...(redelivers(operation) && { body: { since: '2026-01-01T00:00:00Z' } }),
      }),
  },
  'incorrect-code': {
    by: (operation) => pairsHere(operation) || redeems(operation),
    run: (operation) => pairOnce(operation, { code: redeems(operation) ? ' ' : anIncorrectCode() }),
  },
  'unknown-station': {
    by: (operation) =>
      operation.path.includes('{uid}') ||
      is('sandboxTestUnpair', 'sandboxTestUnpairForm', 'sandboxUnpairForm')(operation),
    async run(operation) {
      const callable = testsAtCpo(operation) ? await startCpo(service, () => {}) : undefined;
      return send(
        operation,
        callable && { token: callable.token, session: await signInOnPage(service, callable.token) },
      );
    },
  },
  'events-expired': { by: is('listEvents'), run: (operation) => send(operation, { query: `after=${'9'.repeat(18)}` }) },
  'not-linked': { by: is('getLinks'), run: (operation) => send(operation, { query: `uid=unknown&cpo_id=${cpo.id}` }) },
  'user-forgotten': {
    by: redeems,
    async run(operation) {
      const user_id = `U-${++count}`;
      const forget = () => service.request('DELETE', `/v1/app/users/${user_id}`, { token: service.appToken });
      const theirs = await startCpo(service, (res) => {
        void forget().then(() => sendJson(res, 200, { charging_station: aStation() }));
      });
      return send(operation, {
        body: { ...bodyOf(operation), user_id, cpo_id: theirs.id, payload_protocol: 'ocpp2.0.1' },
      });
    },
  },
  'method-not-allowed': {
    by: always,
    run: ({ path }) => service.request(document.paths[path]?.put ? 'PATCH' : 'PUT', path.replace(/[{}]/g, '')),
  },
  'request-timeout': { by: () => false, run: none },
  'station-already-paired': {
    by: (operation) => pairsHere(operation) || redeems(operation),
    async run(operation) {
      const uid = `Twice-${++count}`;
      await pairOnce(operation, { uid });
      return pairOnce(operation, { uid });
    },
  },
  'cpo-unavailable': {
    by: (operation) => redeems(operation) || testsAtCpo(operation),
    run: (operation) => send(operation, redeems(operation) ? { body: { ...bodyOf(operation), cpo_id: cpo.id } } : {}),
  },
  'certification-running': {
    by: is('sandboxStartRun', 'sandboxRunForm'),
    async run(operation) {
      const silent = await startCpo(service, () => {});
      const sent = isForm(operation)
        ? { session: await signInOnPage(service, silent.token) }
        : { token: silent.token, body: {} };
      await send(operation, sent);
      return send(operation, sent);
    },
  },
  'code-already-used': {
    by: is('cancelCode'),
    async run(operation) {
      const { id, code } = await service.code();
      await service.pair(cpo, code);
      return send(operation, { params: { id } });
    },
  },
  'idempotency-in-progress': {
    by: (operation) => has(operation, 'Idempotency-Key'),
    async run(operation) {
      const key = `key-${++count}`;
      const theirs = await startCpo(service, () => {});
      const body = {
        ...bodyOf(operation),
        ...(redeems(operation) && { cpo_id: theirs.id, payload_protocol: 'ocpp2.0.1' }),
      };
      const ask = () => send(operation, { body: { ...body, code }, headers: { 'Idempotency-Key': key } });
      const code = redeems(operation) ? ' ' : anIncorrectCode();
      await ask();
      await service.sql.query('update idempotency_keys set outcome = null where key = $1', [key]);
      return ask();
    },
  },
  'too-many-endpoints': {
    by: is('createWebhookEndpoint'),
    run: (operation) => untilRefused(409, () => send(operation, { body: { url: 'https://8.8.8.8/' } })),
  },
  'redelivery-in-progress': {
    by: redelivers,
    async run(operation) {
      const app = await startApp(service);
      const { id, set } = await app.endpoint({ url: 'https://8.8.8.8/' });
      // So many pending deliveries let a redelivery wait.
      await service.sql.query(
        `insert into webhook_deliveries (endpoint_id, position, next_attempt_at)
         select $1, -n, now() + interval '1 day' from generate_series(1, 1001) n`,
        [id],
      );
      await set(`redeliver_after = 0, redeliver_until = 1, redeliver_since = now()`);
      return send(operation, { token: app.token, params: { id }, body: { since: '2026-01-01T00:00:00Z' } });
    },
  },
  'endpoint-disabled': {
    by: redelivers,
    async run(operation) {
      const app = await startApp(service);
      const { id, request } = await app.endpoint({ url: 'https://8.8.8.8/' });
      await request('PATCH', '', { status: 'disabled' });
      return send(operation, { token: app.token, params: { id }, body: { since: '2026-01-01T00:00:00Z' } });
    },
  },
  'token-replaced': {
    by: is('rotateToken'),
    run: (operation) => untilRefused(409, () => send(operation)),
  },
  'too-many-tokens': {
    by: is('rotateToken'),
    async run(operation) {
      let { token } = await service.cpo();
      return untilRefused(409, async () => {
        const answer = await send(operation, { token });
        token = answer.body.token;
        if (answer.status === 201) service.secrets.add(token);
        return answer;
      });
    },
  },
  'body-too-large': { by: takesBody, run: (operation) => send(operation, { raw: `"${'x'.repeat(65_536)}"` }) },
  'unsupported-media-type': {
    by: takesBody,
    run: (operation) => send(operation, { headers: { 'Content-Type': 'text/plain' } }),
  },
  'expectation-failed': { by: () => false, run: none },
  'idempotency-key-reused': {
    by: (operation) => has(operation, 'Idempotency-Key'),
    async run(operation) {
      const key = `key-${++count}`;
      await pairOnce(operation, { key });
      return pairOnce(operation, { key });
    },
  },
  'too-many-incorrect-codes': {
    by: (operation) => pairsHere(operation) || redeems(operation),
    async run(operation) {
      if (redeems(operation)) return untilRefused(429, await redeemAt(operation, 404));
      const { token } = await service.cpo();
      const { code: _code, ...station } = bodyOf(operation);
      return untilRefused(429, () => send(operation, { token, body: { ...station, code: anIncorrectCode() } }));
    },
  },
  'too-many-requests': {
    by: (operation) => !!rolesOf(operation) || isSignedIn(operation),
    async run(operation) {
      if (isSignedIn(operation)) {
        const cookie = `scsp-sandbox=${(await full.cpo()).token}`;
        return send(operation, { session: { ...session, cookie } }, full);
      }
      const token = rolesOf(operation)?.includes('cpo') ? (await full.cpo()).token : full.appToken;
      return send(operation, { token }, full);
    },
  },
  'too-many-redemptions': {
    by: redeems,
    run: async (operation) => untilRefused(429, await redeemAt(operation, 400)),
  },
  'too-many-codes': {
    by: is('issueCode'),
    run: (operation) => {
      const user_id = `U-${++count}`;
      return untilRefused(429, () => send(operation, { body: { user_id, charging_location_id: '1' } }));
    },
  },
  'too-many-sandbox-cpos': {
    by: is('sandboxCreateCpo', 'sandboxSignUpForm'),
    run: (operation) => untilRefused(429, () => send(operation)),
  },
  'headers-too-large': { by: () => false, run: none },
  'internal-error': {
    by: always,
    run: (operation) => {
      service.log.provokeInternalErrors();
      return failAs('internal-error')(operation);
    },
  },
  'cpo-failed': { by: redeems, run: async (operation) => (await redeemAt(operation, 500))() },
  'cpo-timed-out': { by: redeems, run: () => timedOut },
  unavailable: { by: always, run: failAs('unavailable') },
};

/** A body in which a member breaks the contract: where all are optional, the empty body does not. */
function invalidBody(operation: Operation): object {
  if (is('changeWebhookEndpoint')(operation)) return { status: 'asleep' };
  if (is('sandboxStartRun')(operation)) return { only: [] };
  return is('rotateWebhookSecret', 'rotateToken')(operation) ? { overlap_hours: -1 } : {};
}

/** A query in which a parameter breaks the contract. */
function invalidQuery(operation: Operation): string | undefined {
  const [parameter] = parametersOf(document, operation).filter((one) => one.in === 'query');
  return parameter && `${parameter.name}=${parameter.schema?.type === 'integer' ? 'x' : ''}`;
}

/** A problem without a provocation is reported by the compiler, and in words by the tests below. */
const mayAnswer = (operation: Operation, type: ProblemType) =>
  (PROVOCATIONS as Partial<typeof PROVOCATIONS>)[type]?.by(operation) ?? false;

/** Declared for operations that share a response, also for those that can have none of it: no parameter that could be wrong, no CPO. */
const SHARED = new Set(['invalid-request', 'unsupported-protocol', 'cpo-suspended']);

const types = Object.entries(problems) as [ProblemType, (typeof problems)[ProblemType]][];

test('a problem that an operation may answer is declared for it, and one that is declared may be answered', () => {
  const wrong = operations.flatMap((operation) =>
    types.flatMap(([type, [status]]) => {
      const may = mayAnswer(operation, type);
      const is = declared.get(operation.id)?.get(String(status))?.includes(type) ?? false;
      if (may === is || (is && SHARED.has(type))) return [];
      return [
        may
          ? `${operation.id} may answer ${type}: add it to the x-problem-types of its ${status} in openapi.yaml`
          : `${operation.id} declares ${type} in openapi.yaml, and nothing here provokes it`,
      ];
    }),
  );
  expect(wrong).toEqual([]);
});

test('every problem is declared in openapi.yaml, under its own status', () => {
  const known = new Map<string, string>(types.map(([type, [status]]) => [type, String(status)]));
  const found = [...declared].flatMap(([id, statuses]) =>
    [...statuses].flatMap(([status, list]) => list.map((type) => ({ id, status, type }))),
  );
  const missing = [...known.keys()].filter((type) => !found.some((one) => one.type === type));
  expect(
    missing.map((type) => `${type} of src/contract/problem-types.ts is in no x-problem-types of openapi.yaml`),
  ).toEqual([]);
  const wrong = found.filter(({ status, type }) => known.get(type) !== status);
  expect(
    wrong.map(
      ({ id, status, type }) => `${id} declares ${type} under ${status}, src/contract/problem-types.ts does not`,
    ),
  ).toEqual([]);
});

test('every response that is no success says which problems it may be', () => {
  const silent = [...declared].flatMap(([id, statuses]) =>
    [...statuses].flatMap(([status, list]) => (/^[23]/.test(status) || list.length > 0 ? [] : [`${id} ${status}`])),
  );
  expect(silent).toEqual([]);
});

test.each(types)('%s has a page with its title and remedy', async (type, [, title, , remedy]) => {
  const page = await service.request('GET', `/problems/${type}`);
  expect(page.status).toBe(200);
  for (const text of [title, remedy]) expect(unescaped(page.body)).toContain(text);
});

const unescaped = (html: string) =>
  html
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&quot;', '"')
    .replaceAll('&#39;', "'")
    .replaceAll('&amp;', '&');

const expected = (type: ProblemType) => {
  const [status, title] = problems[type];
  return { status, body: { type: `/problems/${type}`, title, status } };
};

describe.each(operations.map((operation) => [operation.id, operation] as const))('%s', (_id, operation) => {
  const here = types.map(([type]) => type).filter((type) => mayAnswer(operation, type));
  test.each(here)('answers %s as it declares', async (type) => {
    expect(await PROVOCATIONS[type].run(operation)).toMatchObject(expected(type));
  });
});

test('what is refused before an operation is known is declared for the document as a whole', async () => {
  const host = new URL(service.url).host;
  const say = async (to: Harness, text: string) => {
    const raw = await openRaw(to.url);
    raw.socket.write(text);
    const [answer] = await raw.answers(1);
    raw.socket.destroy();
    return answer;
  };
  const answers: [ProblemType, Promise<unknown>][] = [
    ['malformed-request', say(service, 'GET / HTTP/1.1\r\n\r\n')],
    ['not-found', service.request('GET', '/nothing')],
    ['method-not-allowed', service.request('PATCH', '/')],
    ['request-timeout', say(impatient, 'GET / HTTP/1.1\r\n')],
    ['expectation-failed', say(service, `GET / HTTP/1.1\r\nHost: ${host}\r\nExpect: miracles\r\n\r\n`)],
    ['headers-too-large', say(service, `GET / HTTP/1.1\r\nHost: ${host}\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`)],
    ['unavailable', full.request('GET', '/docs/')],
  ];
  for (const [type, answer] of answers) expect(await answer).toMatchObject(expected(type));
  const root = [...(declared.get('none')?.values() ?? [])].flat();
  expect(root.sort()).toEqual(answers.map(([type]) => type).sort());
});
