import fc from 'fast-check';
import { protocols } from '../../src/protocols';
import { aStation, type Harness, NO_LIMITS, startHarness, type TestCpo } from '../harness/harness';
import { heapGrowth } from '../harness/heap';
import { SEED } from '../harness/repeatable-random';

let service: Harness;
let cpo: TestCpo;
beforeAll(async () => {
  service = await startHarness(NO_LIMITS);
  cpo = await service.cpo();
});
afterAll(() => service.stop());

const PATH = '/v1/scsp/ocpp2.0.1/pair';
type Raw = { headers?: Record<string, string>; path?: string };
const send = (raw: string | Uint8Array<ArrayBuffer>, { headers = {}, path = PATH }: Raw = {}) =>
  service.request('POST', path, { token: cpo.token, raw, headers });
const pair = (body: unknown, path?: string) => send(JSON.stringify(body), path === undefined ? {} : { path });
const faults = async (body: unknown) => {
  const answer = await pair(body);
  expect(answer.status).toBe(400);
  return answer.body.errors as { pointer: string; message: string }[];
};
const evse = (more: object = {}) => ({ ...aStation().evses[0], ...more });
const connector = (more: object = {}) => ({ ...aStation().evses[0]?.connectors[0], ...more });
const body = (station: object = {}) => ({ code: '000000', charging_station: { ...aStation(), ...station } });
const nested = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`;

describe('media type and size', () => {
  test.each(['text/plain', 'application/xml', 'application/jsonx', 'multipart/form-data; boundary=x'])(
    '%s is refused',
    async (type) => {
      expect((await send('{}', { headers: { 'Content-Type': type } })).status).toBe(415);
    },
  );
  test.each([
    'application/json',
    'APPLICATION/JSON; Charset="UTF-8"',
    'application/json;x=1',
    'application/json ; charset=utf8',
  ])('%s is taken', async (type) => {
    expect((await send(JSON.stringify(body()), { headers: { 'Content-Type': type } })).status).toBe(404);
  });
  test('another charset and any compression are refused', async () => {
    expect((await send('{}', { headers: { 'Content-Type': 'application/json; charset=utf-16' } })).status).toBe(415);
    expect((await send('{}', { headers: { 'Content-Encoding': 'gzip' } })).status).toBe(415);
    expect((await send(JSON.stringify(body()), { headers: { 'Content-Encoding': 'identity' } })).status).toBe(404);
  });
  test('65,536 bytes are taken, one more is too large', async () => {
    const json = JSON.stringify(body());
    expect((await send(json.padEnd(65_536))).status).toBe(404);
    const refused = await send(json.padEnd(65_537));
    expect([refused.status, refused.body.type]).toEqual([413, '/problems/body-too-large']);
  });
  test('content-type parameters cost no memory: 450 kinds of them are one kind', async () => {
    const sendKinds = async (from: number) => {
      for (let i = from; i < from + 150; i++)
        expect((await send('{}', { headers: { 'Content-Type': `application/json; x=${i}` } })).status).toBe(400);
    };
    await sendKinds(0);
    expect(await heapGrowth((nth) => sendKinds(150 * nth))).toBeLessThan(2_000_000);
  });
});

describe('JSON', () => {
  test.each([
    ['', 'is empty, but must be JSON'],
    ['{"code": 1,}', 'is not valid JSON at line 1, column 12'],
    ['{\n  "code": "1"\n  "x": 2}', 'is not valid JSON at line 3, column 3'],
    ["{'code': 1}", 'is not valid JSON at line 1, column 2'],
    ['{"a": 1', 'is not valid JSON at line 1, column 8'],
  ])('%j is refused with the place of the error', async (raw, message) => {
    const answer = await send(raw);
    expect([answer.status, answer.body.type]).toEqual([400, '/problems/malformed-request']);
    expect(answer.body.errors).toEqual([{ pointer: '', message: expect.stringContaining(message) }]);
  });
  test('invalid UTF-8 is refused, not made into one uid of two', async () => {
    const bytes = Buffer.from(JSON.stringify(body({ uid: 'caf#' })));
    bytes[bytes.indexOf('#')] = 0xe9;
    expect((await send(new Uint8Array(bytes))).body.errors).toEqual([{ pointer: '', message: 'is not valid UTF-8' }]);
  });
  test.each(['\\u0000', '\\ud800', '\\udc00\\ud800'])('%s is refused in any string', async (bad) => {
    const known = await send(JSON.stringify(body()).replace('AC_3_PHASE', bad));
    expect(known.body.errors[0].pointer).toBe(
      '/charging_station/evses/1/connectors/0/power_type'.replace('1/connectors/0', '0/connectors/0'),
    );
    expect((await send(JSON.stringify({ ...body(), 'a/b~': ['#'] }).replace('#', bad))).body.errors[0].pointer).toBe(
      '/a~1b~0/0',
    );
    expect((await send(`{"x${bad}": 1}`)).status).toBe(400);
  });
  test('64 levels are taken, 65 are too deep, 30,000 are no trouble', async () => {
    const deep = (levels: number) => JSON.stringify({ ...body(), x: '#' }).replace('"#"', nested(levels));
    expect((await send(deep(63))).status).toBe(404);
    expect((await send(deep(64))).status).toBe(400);
    expect((await send(nested(30_000))).status).toBe(400);
  });
  test.each([
    ['[', 'column 65'],
    ['{"a":', 'column 321'],
    ['[{"a":', 'column 193'],
  ])('65 kB of %s are too deep, and told where', async (open, place) => {
    const answer = await send(open.repeat(Math.floor(65_536 / open.length)));
    expect([answer.status, answer.body.type]).toEqual([400, '/problems/malformed-request']);
    expect(answer.body.errors).toEqual([
      { pointer: '', message: `is nested more than 64 levels deep at line 1, ${place}` },
    ]);
  });
  test('text that stops being JSON before it is too deep is reported as not JSON', async () => {
    const answer = await send('[}'.repeat(30_000));
    expect(answer.body.errors[0].message).toMatch(/^is not valid JSON at line 1, column 2: /);
  });
  test('of a repeated member the last counts, for the check and for the store', async () => {
    const { code } = await service.code();
    const station = aStation();
    const json = JSON.stringify({ code, charging_station: station });
    const answer = await send(`${json.slice(0, -1)},"charging_station":${JSON.stringify(aStation('the-last-one'))}}`);
    expect(answer.body.charging_station.uid).toBe('the-last-one');
    expect((await send(json.replace('"code":', '"code":"x","code":7,"code":'))).status).toBe(404);
  });
  test('__proto__ is a member like any other', async () => {
    const answer = await send(JSON.stringify(body()).replace('{', '{"__proto__":{"code":1},'));
    expect(answer.status).toBe(404);
  });
});

describe('validation errors', () => {
  test('all are reported at once, each with its place and in words', async () => {
    const station = {
      uid: 'é',
      evses: [
        { evse_id: '1', connectors: [] },
        {
          evse_id: 0,
          capabilities: 'x',
          connectors: [{ id: 1, power_type: 'AC', max_voltage: 1501, max_amperage: 1.5 }],
        },
      ],
    };
    expect(await faults({ code: 362_821, charging_station: station })).toEqual([
      { pointer: '/code', message: 'must be a string, got a number: put it in quotes (leading zeros are significant)' },
      {
        pointer: '/charging_station/uid',
        message: 'must contain only printable ASCII characters and must not be "." or "..", got "é"',
      },
      { pointer: '/charging_station/evses/0/evse_id', message: 'must be an integer, got "1"' },
      { pointer: '/charging_station/evses/0/connectors', message: 'must have at least 1 item' },
      { pointer: '/charging_station/evses/1/evse_id', message: 'must be at least 1, got 0' },
      { pointer: '/charging_station/evses/1/capabilities', message: 'must be an array, got "x"' },
      {
        pointer: '/charging_station/evses/1/connectors/0/id',
        message: 'must be a string, got 1: put it in quotes (leading zeros are significant)',
      },
      {
        pointer: '/charging_station/evses/1/connectors/0/power_type',
        message: 'must be one of AC_1_PHASE, AC_2_PHASE, AC_2_PHASE_SPLIT, AC_3_PHASE, DC, got "AC"',
      },
      { pointer: '/charging_station/evses/1/connectors/0/max_voltage', message: 'must be at most 1500, got 1501' },
      { pointer: '/charging_station/evses/1/connectors/0/max_amperage', message: 'must be an integer, got 1.5' },
    ]);
  });
  test.each([
    [{}, ['/code', '/charging_station']],
    [{ code: '1' }, ['/charging_station']],
    [{ ...body(), code: '' }, ['/code']],
    [{ ...body(), code: 'x'.repeat(65) }, ['/code']],
    [{ ...body(), code: null }, ['/code']],
    [[], ['']],
    ['x', ['']],
    [null, ['']],
    [{ code: '1', charging_station: {} }, ['/charging_station/uid', '/charging_station/evses']],
    [body({ uid: '' }), ['/charging_station/uid']],
    [body({ uid: 'x'.repeat(49) }), ['/charging_station/uid']],
    [body({ uid: '..' }), ['/charging_station/uid']],
    [body({ evses: [] }), ['/charging_station/evses']],
    [body({ evses: [null] }), ['/charging_station/evses/0']],
    [body({ evses: [evse({ evse_id: 2_147_483_648 })] }), ['/charging_station/evses/0/evse_id']],
    [body({ evses: [evse(), evse()] }), ['/charging_station/evses/1/evse_id']],
    [
      body({ evses: [evse({ connectors: [connector({ id: 'a' }), connector({ id: 'b' }), connector({ id: 'A' })] })] }),
      ['/charging_station/evses/0/connectors/2/id'],
    ],
    [body({ evses: [evse({ capabilities: [''] })] }), ['/charging_station/evses/0/capabilities/0']],
    [
      body({ evses: [evse({ connectors: [connector({ format: 'PLUG' })] })] }),
      ['/charging_station/evses/0/connectors/0/format'],
    ],
  ])('%j has faults at %j', async (wrong, pointers) => {
    expect((await faults(wrong)).map(({ pointer }) => pointer)).toEqual(pointers);
  });
  test.each([
    ['no station', {}],
    ['an evse', { code: '1', evse: {} }],
    ['a station in which much is wrong', { code: 1, charging_station: { evses: [{}, {}] } }],
  ])(
    'an unknown protocol is answered with the supported ones, and nothing about a body with %s',
    async (_what, body) => {
      const answer = await pair(body, '/v1/scsp/ocpp9/pair');
      expect(answer.status).toBe(400);
      const supported = Object.keys(protocols).join(', ');
      expect(answer.body).toMatchObject({
        type: '/problems/unsupported-protocol',
        message: `Unsupported payload protocol. Supported: ${supported}.`,
        errors: [{ pointer: '/payload-protocol', message: `must be one of ${supported}, got "ocpp9"` }],
      });
      expect(answer.body.errors).toHaveLength(1);
    },
  );
  test('a path with a broken percent-encoding is not found', async () => {
    expect((await pair(body(), '/v1/scsp/%ZZ/pair')).body.type).toBe('/problems/not-found');
  });
  test('of thousands of validation errors 100 are listed', async () => {
    const answer = await send(`{"code":"1","charging_station":{"uid":"x","evses":[${'1,'.repeat(30_000)}1]}}`);
    expect(answer.status).toBe(400);
    expect(answer.body.errors).toHaveLength(100);
    expect(answer.body.message).toContain('more than 100 validation errors');
  });
  test('a list that is too long is reported, whatever its items are', async () => {
    const long = (n: number) => body({ evses: Array.from({ length: n }, (_, i) => evse({ evse_id: i + 1 })) });
    expect((await pair(long(100))).status).toBe(404);
    expect(await faults(long(150))).toEqual([
      { pointer: '/charging_station/evses', message: 'must have at most 100 items' },
    ]);
  });
  test.each([
    ['1e400', 'must be an integer, got a number that is too large'],
    ['-1e400', 'must be an integer, got a number that is too large'],
    ['-0', 'must be at least 1, got -0'],
    ['12345678901234567890', 'must be at most 1500, got about 1.23e+19'],
    ['1e-400', 'must be at least 1, got 0'],
    ['"NaN"', 'must be an integer, got "NaN"'],
    ['1501', 'must be at most 1500, got 1501'],
  ])('a voltage of %s is shown as it was sent', async (number, message) => {
    const answer = await send(
      JSON.stringify(body({ evses: [evse({ connectors: [connector({ max_voltage: '#' })] })] })).replace('"#"', number),
    );
    expect(answer.body.errors).toContainEqual({
      pointer: '/charging_station/evses/0/connectors/0/max_voltage',
      message,
    });
  });
  test('a code is never shown', async () => {
    const answer = await pair({ code: 918_273, charging_station: {} });
    expect(JSON.stringify(answer.body)).not.toContain('918273');
  });
});

describe('null', () => {
  const OPTIONAL = ['standard', 'format', 'max_electric_power'];
  test('for an optional member counts as absent, at every level', async () => {
    const { code, id } = await service.code();
    const nulls = Object.fromEntries(OPTIONAL.map((name) => [name, null]));
    const station = aStation();
    const sent = {
      ...station,
      unknown: null,
      evses: [evse({ capabilities: null, connectors: [connector(nulls)] })],
    };
    const paired = await service.pair(cpo, code, sent);
    const { capabilities: _, ...stored } = evse({ connectors: [connector()] }) as { capabilities?: unknown };
    expect([paired.status, paired.body.charging_station]).toEqual([200, { uid: station.uid, evses: [stored] }]);
    expect((await service.followCode(id)).body.pairing.charging_station).toEqual(paired.body.charging_station);
  });
  test('for a required member or an item of a list is refused', async () => {
    const evses = [evse({ connectors: [connector({ max_voltage: null })] }), null];
    expect(await faults({ code: null, charging_station: { ...aStation(), uid: null, evses } })).toEqual([
      { pointer: '/code', message: 'must be a string, got null' },
      { pointer: '/charging_station/uid', message: 'must be a string, got null' },
      { pointer: '/charging_station/evses/0/connectors/0/max_voltage', message: 'must be an integer, got null' },
      { pointer: '/charging_station/evses/1', message: 'must be an object, got null' },
    ]);
  });
  test('counts as absent in the requests of the app, too', async () => {
    const issue = (body: object) => service.request('POST', '/v1/app/pairing-codes', { token: service.appToken, body });
    const user_id = 'somebody';
    expect((await issue({ user_id, charging_location_id: 'home', cpo_id: null })).status).toBe(201);
    expect((await issue({ user_id, charging_location_id: null })).status).toBe(400);
  });
});

describe('any body at all', () => {
  const noServerFault = async (raw: string) => {
    const { status, body } = await send(raw);
    expect([200, 400, 404, 409, 413]).toContain(status);
    if (status === 400) expect(body.errors.length).toBeGreaterThan(0);
  };
  test('JSON of any shape is answered in the one shape, and never with an internal error', async () => {
    await fc.assert(fc.asyncProperty(fc.json(), noServerFault), { numRuns: 200, seed: SEED });
  });
  test('so is a station with one part replaced by anything', async () => {
    const paths = [
      'code',
      'charging_station',
      'uid',
      'evses',
      'evse_id',
      'capabilities',
      'connectors',
      'id',
      'max_voltage',
      'format',
    ];
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...paths), fc.jsonValue(), (name, value) =>
        // A reviver is not called for what it returns: a value may have a member of that name, too.
        noServerFault(JSON.stringify(JSON.parse(JSON.stringify(body()), (key, old) => (key === name ? value : old)))),
      ),
      { numRuns: 300, seed: SEED },
    );
  });
  test('every valid station is stored as it was sent', async () => {
    const text = (max: number) =>
      fc.string({
        unit: fc.integer({ min: 0x20, max: 0x7e }).map((c) => String.fromCharCode(c)),
        minLength: 1,
        maxLength: max,
      });
    const aConnector = fc.record(
      {
        id: text(36),
        power_type: fc.constantFrom('AC_1_PHASE', 'AC_2_PHASE', 'AC_2_PHASE_SPLIT', 'AC_3_PHASE', 'DC'),
        max_voltage: fc.integer({ min: 1, max: 1500 }),
        max_amperage: fc.integer({ min: 1, max: 1000 }),
        standard: fc.string({ minLength: 1, maxLength: 64, unit: 'grapheme' }).filter((s) => [...s].length <= 64),
        format: fc.constantFrom('SOCKET', 'CABLE'),
        max_electric_power: fc.integer({ min: 1, max: 1_000_000 }),
      },
      { requiredKeys: ['id', 'power_type', 'max_voltage', 'max_amperage'] },
    );
    const anEvse = fc.record(
      {
        evse_id: fc.integer({ min: 1, max: 2_147_483_647 }),
        capabilities: fc.array(fc.string({ minLength: 1, maxLength: 64 }), { maxLength: 5 }),
        connectors: fc.uniqueArray(aConnector, { minLength: 1, maxLength: 4, selector: ({ id }) => id.toLowerCase() }),
      },
      { requiredKeys: ['evse_id', 'connectors'] },
    );
    const aWholeStation = fc.record({
      uid: text(48).filter((uid) => uid !== '.' && uid !== '..'),
      evses: fc.uniqueArray(anEvse, { minLength: 1, maxLength: 4, selector: ({ evse_id }) => evse_id }),
    });
    await fc.assert(
      fc.asyncProperty(aWholeStation, async (station) => {
        const { code, id } = await service.code();
        const paired = await service.pair(cpo, code, station);
        expect([paired.status, paired.body.charging_station]).toEqual([200, station]);
        expect((await service.followCode(id)).body.pairing.charging_station).toEqual(station);
        // Another station may get the same uid.
        expect((await service.unpairAsCpo(cpo, station.uid)).status).toBe(200);
      }),
      { numRuns: 40, seed: SEED },
    );
  });
});
