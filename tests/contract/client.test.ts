import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import ts from 'typescript';
import { projectFile } from '../../src/contract/document';
import { anIncorrectCode, aStation, type Harness, startHarness, type TestCpo } from '../harness/harness';

// What an integrator does who generates a client: types from openapi.json as it is served, calls with openapi-fetch.

/** A program that compiles only if the generated types say what the contract says. */
const PROGRAM = `
import createClient from 'openapi-fetch';
import type { paths, components } from './scsp';

type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false;
const same = <A, B>(_same: Same<A, B>) => {};

export async function main(baseUrl: string, token: string, code: string, incorrect: string, station: components['schemas']['ChargingStation']) {
  const client = createClient<paths>({ baseUrl, headers: { Authorization: \`Bearer \${token}\` } });
  const pair = (code: string) =>
    client.POST('/v1/scsp/{payload-protocol}/pair', {
      params: { path: { 'payload-protocol': 'ocpp2.0.1' }, header: { 'Idempotency-Key': crypto.randomUUID() } },
      body: { code, charging_station: station },
    });

  const refused = await pair(incorrect);
  if (refused.error === undefined) throw new Error('an incorrect code paired');
  same<typeof refused.error.message, string>(true);
  same<typeof refused.error.status, number>(true);
  const { message, type, status, request_id } = refused.error;

  const paired = await pair(code);
  if (paired.data === undefined) throw new Error(paired.error.message);
  same<typeof paired.data.charging_station.uid, string>(true);
  same<typeof paired.data.charging_station.evses[number]['evse_id'], number>(true);

  const unpair = () =>
    client.POST('/v1/scsp/chargingstations/{uid}/unpair', { params: { path: { uid: station.uid } } });
  const [unpaired, again] = [await unpair(), await unpair()];
  same<NonNullable<typeof unpaired.data>['message'], string>(true);

  return {
    refused: { httpStatus: refused.response.status, message, type, status, request_id },
    paired: { httpStatus: paired.response.status, ...paired.data },
    unpaired: { httpStatus: unpaired.response.status, ...unpaired.data },
    again: { httpStatus: again.response.status, type: again.error?.type },
  };
}

/** What must not compile. */
export function mistakes(client: ReturnType<typeof createClient<paths>>) {
  // @ts-expect-error no such path
  void client.POST('/v1/scsp/pairs', {});
  void client.POST('/v1/scsp/{payload-protocol}/pair', {
    // @ts-expect-error no such protocol
    params: { path: { 'payload-protocol': 'ocpp9' } },
    // @ts-expect-error a code is a string
    body: { code: 12345, charging_station: { uid: 'x', evses: [] } },
  });
  // @ts-expect-error the uid is required
  void client.POST('/v1/scsp/evse/{uid}/unpair', {});
}
`;

const folder = mkdtempSync(join(tmpdir(), 'scsp-client-'));
let service: Harness;
let cpo: TestCpo;
beforeAll(async () => {
  service = await startHarness();
  cpo = await service.cpo();
});
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  await service.stop();
});

/** Generates the types from what the service serves, with the generator's own command. */
async function generateTypes(): Promise<void> {
  const { body } = await service.request('GET', '/openapi.json');
  writeFileSync(join(folder, 'openapi.json'), JSON.stringify(body));
  const generator = projectFile('node_modules/openapi-typescript/bin/cli.js');
  const args = [generator, join(folder, 'openapi.json'), '--output', join(folder, 'scsp.d.ts')];
  const { status, stderr } = spawnSync(process.execPath, args, { cwd: folder, encoding: 'utf8' });
  expect({ status, stderr: status === 0 ? '' : stderr }).toEqual({ status: 0, stderr: '' });
}

/** Compiles a file of the folder, as strictly as can be, to CommonJS. */
function compile(name: string): string {
  const options: ts.CompilerOptions = {
    strict: true,
    noUncheckedIndexedAccess: true,
    exactOptionalPropertyTypes: true,
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.CommonJS,
    moduleResolution: ts.ModuleResolutionKind.Node10,
    esModuleInterop: true,
    types: [],
    lib: ['lib.es2023.d.ts', 'lib.dom.d.ts'],
  };
  const program = ts.createProgram([join(folder, name)], options);
  const errors = ts.getPreEmitDiagnostics(program);
  expect(errors.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))).toEqual([]);
  program.emit();
  return join(folder, name.replace('.ts', '.js'));
}

test('a client that is generated from the served openapi.json compiles in strict mode and works', async () => {
  symlinkSync(projectFile('node_modules'), join(folder, 'node_modules'));
  writeFileSync(join(folder, 'program.ts'), PROGRAM);
  await generateTypes();
  const { main } = require(compile('program.ts'));
  const [{ code }, station] = [await service.code(), aStation()];
  expect(await main(service.url, cpo.token, code, anIncorrectCode(), station)).toEqual({
    refused: {
      httpStatus: 404,
      message: 'Incorrect Code, please check the code and try again.',
      type: '/problems/incorrect-code',
      status: 404,
      request_id: expect.stringMatching(/^[0-9a-f-]{36}$/),
    },
    paired: {
      httpStatus: 200,
      message: 'Charging station successfully paired.',
      charging_station: expect.objectContaining({ uid: station.uid }),
    },
    unpaired: { httpStatus: 200, message: 'Charging station successfully unpaired.' },
    again: { httpStatus: 404, type: '/problems/unknown-station' },
  });
});
