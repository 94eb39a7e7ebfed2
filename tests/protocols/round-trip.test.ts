import { operationsOf, readContract, servedBy } from '../../src/contract/document';
import { withoutSandbox } from '../../src/contract/without-sandbox';
import { sendJson, startCpo } from '../harness/a-cpo';
import { bodyOfSchema, differences, MEMBERS, type Members } from '../harness/body-of-schema';
import { jsonSchema, pairOperations, stationOf } from '../harness/contract-protocols';
import { type Answer, type Harness, NO_LIMITS, startHarness, type TestCpo } from '../harness/harness';
import { placesOf, resolved } from '../harness/widest-bodies';

const { document } = withoutSandbox(readContract());
const ours = pairOperations(document, 'scsp');
const schemaOf = (name: string) => resolved(document, { $ref: `#/components/schemas/${name}` });

/** The segment before `{uid}/unpair`, by the member that describes a station (contract, section 2). */
const UNPAIR_SEGMENTS: Record<string, string> = { charging_station: 'chargingstations', evse: 'evse' };

type Station = { readonly uid: string; readonly [member: string]: unknown };
type Link = { user_id: string; charging_location_id: string };
type Flow = {
  readonly protocol: string;
  /** The member that describes the station. */
  readonly member: string;
  readonly sent: Station;
  /** What is shown of it: without what was sent as null. */
  readonly shown: Station;
};

let service: Harness;
let cpo: Awaited<ReturnType<typeof startCpo>>;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true', ...NO_LIMITS });
  cpo = await startCpo(service, () => {});
});
afterAll(() => service.stop());

const get = (path: string, as: Partial<TestCpo> = {}) =>
  service.request('GET', path, { token: as.token ?? service.appToken });
const post = (path: string, token: string | undefined, body?: unknown, headers?: Record<string, string>) =>
  service.request('POST', path, { token, ...(body !== undefined && { body }), ...(headers && { headers }) });
const pathOf = (uid: string, rest = '') => `/v1/app/charging-stations/${encodeURIComponent(uid)}${rest}`;

/** The operations that show a pairing to the app, and how each is asked for it. */
const READERS: Record<string, (uid: string, user: string, codeId: string | undefined) => Promise<unknown>> = {
  getStation: async (uid) => (await get(pathOf(uid))).body,
  listStations: async (_uid, user) => (await get(`/v1/app/charging-stations?user_id=${user}`)).body.items[0],
  followCode: async (_uid, _user, id) => id && (await service.followCode(id)).body.pairing,
};
/** Those that show a station in the answer to the request that pairs it. */
const WRITERS = [...new Set(ours.map(({ operation }) => operation.id)), 'redeemCode'];

let count = 0;
/** A name of its own in this file's database. */
const next = (name: string) => {
  count += 1;
  return `${name}-${count}`;
};

function flowOf(protocol: string, members: Members): Flow {
  const operation = ours.find((one) => one.protocol === protocol);
  if (operation === undefined) throw new Error(`${protocol} is no protocol of the contract`);
  const { member, schema } = stationOf(document, operation);
  const built = bodyOfSchema(document, schema, members) as Station;
  const { maxLength } = resolved(document, schema.properties?.uid ?? {});
  const sent = { ...built, uid: `${next('Uid')}-${built.uid}`.slice(0, maxLength) };
  const shown = JSON.parse(JSON.stringify(sent), (_name, value) => (value === null ? undefined : value));
  return { protocol, member, sent, shown };
}

/** A pairing as it must be shown everywhere, with every member that the contract has for one. */
function pairingOf({ protocol, member, shown }: Flow, { user_id, charging_location_id }: Link, pairedAt: unknown) {
  const pairing: Record<string, unknown> = {
    uid: shown.uid,
    user_id,
    charging_location_id,
    cpo_id: cpo.id,
    payload_protocol: protocol,
    paired_at: pairedAt,
    [member]: shown,
  };
  const others = new Set(ours.map((one) => stationOf(document, one).member));
  const unknown = Object.keys(schemaOf('Pairing').properties ?? {}).filter(
    (name) => !(name in pairing) && !others.has(name),
  );
  if (unknown.length > 0) throw new Error(`round-trip.test.ts does not know the value of Pairing.${unknown}`);
  return pairing;
}

/** Asserts an answer's status and, with all of them at once, every member that it has lost. */
function expectAll({ protocol }: Flow, answers: Record<string, { expected: unknown; found: unknown }>) {
  const lost = Object.entries(answers).flatMap(([answer, { expected, found }]) =>
    differences(expected, found ?? {}).map((difference) => `${protocol}, ${answer}: ${difference}`),
  );
  expect(lost).toEqual([]);
}

/** Asserts what every operation shows of a pairing that lasts. */
async function expectShown(
  flow: Flow,
  link: Link,
  codeId: string | undefined,
  answers: Parameters<typeof expectAll>[1],
) {
  const { uid } = flow.shown;
  const { paired_at } = (await get(pathOf(uid))).body;
  expect(new Date(paired_at).toISOString()).toBe(paired_at);
  const expected = pairingOf(flow, link, paired_at);
  const shown = { ...answers };
  for (const [id, read] of Object.entries(READERS))
    if (id !== 'followCode' || codeId !== undefined)
      shown[id] = { expected, found: await read(uid, link.user_id, codeId) };
  const own = (await get('/v1/scsp/charging-stations?limit=1000', cpo)).body.items;
  shown.listOwnStations = {
    expected: { uid, payload_protocol: flow.protocol, paired_at },
    found: own.find((one: Station) => one.uid === uid),
  };
  expectAll(flow, shown);
  return expected;
}

const expectStatus = (answer: Answer, status: number) =>
  expect([answer.status, answer.status === status ? '' : answer.body]).toEqual([status, '']);

/** Unpairs a station in one way and asserts that nothing shows it any more. */
async function unpair(uid: string, path: string, token: string | undefined) {
  expectStatus(await post(path, token), 200);
  expectStatus(await get(pathOf(uid)), 404);
}

/** A code with every member that the app may send. */
async function issue(): Promise<{ code: string; id: string; link: Link }> {
  const request = { user_id: next('User'), charging_location_id: next('Home'), cpo_id: cpo.id };
  const unknown = Object.keys(schemaOf('IssueCodeRequest').properties ?? {}).filter((name) => !(name in request));
  if (unknown.length > 0) throw new Error(`round-trip.test.ts does not send IssueCodeRequest.${unknown}`);
  const { code, ...issued } = await service.code(request);
  expect(issued).toMatchObject(request);
  expect((await service.followCode(issued.id)).body).toEqual(issued);
  return { code, id: issued.id, link: request };
}

const CASES = ours.flatMap(({ protocol }) => MEMBERS.map((members) => [protocol, members] as const));

test.each(CASES)('a station of %s with %s is found again after a code of ours', async (protocol, members) => {
  const flow = flowOf(protocol, members);
  const { code, id, link } = await issue();
  const body = { code, [flow.member]: flow.sent };
  const key = { 'Idempotency-Key': next('key') };
  const path = `/v1/scsp/${protocol}/pair`;
  const segment = UNPAIR_SEGMENTS[flow.member];

  const paired = await post(path, cpo.token, body, key);
  expectStatus(paired, 200);
  const replayed = await post(path, cpo.token, body, key);
  const answer = { message: 'Charging station successfully paired.', [flow.member]: flow.shown };
  const pairing = await expectShown(flow, link, id, {
    'the pair response': { expected: answer, found: paired.body },
    'its idempotent replay': { expected: answer, found: replayed.body },
  });
  const [attempt] = (await get('/v1/scsp/attempts?limit=1', cpo)).body.items;
  expect(attempt).toMatchObject({ uid: flow.shown.uid, payload_protocol: protocol, outcome: 'paired', status: 200 });

  await unpair(flow.shown.uid, `/v1/scsp/${segment}/${encodeURIComponent(flow.shown.uid)}/unpair`, cpo.token);
  expectAll(flow, {
    'its idempotent replay after the unpair': {
      expected: answer,
      found: (await post(path, cpo.token, body, key)).body,
    },
    'followCode after the unpair': { expected: pairing, found: (await service.followCode(id)).body.pairing },
  });
});

test.each(CASES)("a station of %s with %s is found again after a CPO's code", async (protocol, members) => {
  const flow = flowOf(protocol, members);
  const link = { user_id: next('User'), charging_location_id: next('Home') };
  const body = { ...link, cpo_id: cpo.id, payload_protocol: protocol, code: next('code') };
  const key = { 'Idempotency-Key': next('key') };
  cpo.received.length = 0;
  cpo.answer = (res) => sendJson(res, 200, { [flow.member]: flow.sent });

  const paired = await post('/v1/app/pairings', service.appToken, body, key);
  expectStatus(paired, 201);
  expect(cpo.received).toMatchObject([{ path: `/v1/cpo/${protocol}/pair`, body: JSON.stringify({ code: body.code }) }]);
  const replayed = await post('/v1/app/pairings', service.appToken, body, key);
  const expected = pairingOf(flow, link, paired.body.paired_at);
  await expectShown(flow, link, undefined, {
    'the 201 of redemption': { expected, found: paired.body },
    'its idempotent replay': { expected, found: replayed.body },
  });
  expect(cpo.received).toHaveLength(1);

  const told = cpo.asked(2);
  await unpair(flow.shown.uid, pathOf(flow.shown.uid, '/unpair'), service.appToken);
  await told;
  const uid = encodeURIComponent(flow.shown.uid);
  expect(cpo.received[1]?.path).toBe(`/v1/cpo/${UNPAIR_SEGMENTS[flow.member]}/${uid}/unpair`);
});

test.each(ours.map(({ protocol }) => protocol))(
  '%s refuses connector ids that repeat, in both directions',
  async (protocol) => {
    const flow = flowOf(protocol, 'every member');
    const repeated = structuredClone(flow.sent);
    const [first, second] =
      placesOf(document, stationOf(document, ours.find((one) => one.protocol === protocol) as never).schema)
        .filter(({ path }) => path.at(-1) === 'connectors')
        .map(
          ({ path }) => path.reduce<unknown>((at, name) => Reflect.get(Object(at), name), repeated) as { id: string }[],
        )[0] ?? [];
    if (first === undefined || second === undefined) throw new Error(`${protocol} has no connectors`);
    second.id = first.id.toUpperCase();
    const refused = await post(`/v1/scsp/${protocol}/pair`, cpo.token, { code: '1', [flow.member]: repeated });
    expectStatus(refused, 400);
    expect(refused.body.errors.map(({ pointer }: { pointer: string }) => pointer)).toEqual([
      expect.stringMatching(new RegExp(`^/${flow.member}/.*connectors/1/id$`)),
    ]);
    cpo.answer = (res) => sendJson(res, 200, { [flow.member]: repeated });
    expectStatus(await service.redeem(cpo, next('code'), { payload_protocol: protocol }), 502);
  },
);

/** The names of all schemas that a schema refers to. */
function schemasIn(given: unknown, found = new Set<string>()): Set<string> {
  if (typeof given !== 'object' || given === null) return found;
  const name = /^#\/components\/schemas\/(.*)$/.exec(String(Reflect.get(given, '$ref')))?.[1];
  if (name !== undefined && !found.has(name)) schemasIn(schemaOf(name), found.add(name));
  for (const child of Object.values(given)) schemasIn(child, found);
  return found;
}

test('every operation that shows a station is asked for it above', () => {
  const stations = new Set(ours.map((one) => stationOf(document, one).schema));
  const names = Object.keys(document.components.schemas ?? {}).filter((name) => stations.has(schemaOf(name)));
  const showing = operationsOf(servedBy(document, 'scsp')).filter((operation) => {
    const found = schemasIn(jsonSchema(document, operation, 'response'));
    return names.some((name) => found.has(name));
  });
  expect(showing.map(({ id }) => id).sort()).toEqual([...Object.keys(READERS), ...WRITERS].sort());
});

test('every shape of a path to unpair is that of a payload protocol', () => {
  const members = new Set(ours.map((one) => stationOf(document, one).member));
  expect(Object.keys(UNPAIR_SEGMENTS).sort()).toEqual([...members].sort());
  for (const party of ['scsp', 'cpo'] as const) {
    const paths = operationsOf(servedBy(document, party)).map(
      ({ path }) => /^\/v1\/\w+\/(\w+)\/\{uid\}\/unpair$/.exec(path)?.[1],
    );
    const segments =
      party === 'scsp' ? paths.filter((one) => Object.values(UNPAIR_SEGMENTS).includes(one ?? '')) : paths;
    expect(segments.filter(Boolean).sort()).toEqual(Object.values(UNPAIR_SEGMENTS).sort());
  }
});
