import { operationsOf, readContract, servedBy } from '../../src/contract/document';
import { protocols } from '../../src/protocols';
import { jsonSchema, type PairOperation, pairOperations, parametersOf, stationOf } from '../harness/contract-protocols';
import { resolved } from '../harness/widest-bodies';

const { document } = readContract();
const halves = { scsp: pairOperations(document, 'scsp'), cpo: pairOperations(document, 'cpo') };
const names = (operations: PairOperation[]) => operations.map(({ protocol }) => protocol);

/** Where a payload protocol must be named. */
const PLACES: Record<string, string[]> = {
  'src/protocols/index.ts': Object.keys(protocols),
  'the paths /v1/scsp/…/pair of openapi.yaml': names(halves.scsp),
  'the paths /v1/cpo/…/pair of openapi.yaml': names(halves.cpo),
  'RedeemRequest.payload_protocol of openapi.yaml': (
    resolved(
      document,
      resolved(document, { $ref: '#/components/schemas/RedeemRequest' }).properties?.payload_protocol ?? {},
    ).enum ?? []
  ).map(String),
};

test('every payload protocol is in the code, in both halves of the contract, and in what the app may send', () => {
  const all = new Set(Object.values(PLACES).flat());
  expect(all.size).toBeGreaterThan(0);
  const missing = Object.entries(PLACES).flatMap(([place, known]) =>
    [...all].filter((name) => !known.includes(name)).map((name) => `${name} is missing in ${place}`),
  );
  expect(missing).toEqual([]);
});

test('no payload protocol is named twice', () => {
  for (const [place, known] of Object.entries(PLACES)) expect([place, known]).toEqual([place, [...new Set(known)]]);
});

/** What pair operations of one half have in common: all but the path, the station and the texts. */
function promises({ operation }: PairOperation) {
  const parameters = parametersOf(document, operation).filter((parameter) => parameter.in !== 'path');
  const responses = Object.entries(operation.operation.responses as object).filter(([status]) => status !== '200');
  return { security: operation.operation.security, parameters, responses };
}

test.each(
  Object.values(halves).flatMap((half) => half.map((one) => [one.operation.id, one.protocol, one, half[0]] as const)),
)('%s promises for %s what the other protocols promise', (_id, _protocol, one, first) =>
  expect(promises(one)).toEqual(first && promises(first)),
);

test.each(halves.scsp.map((one) => [one.protocol, one] as const))(
  'a station of %s is described alike in the request, in the response, and by the CPO',
  (protocol, ours) => {
    const { member, schema } = stationOf(document, ours);
    const theirs = halves.cpo.find((one) => one.protocol === protocol);
    for (const operation of [ours.operation, theirs?.operation]) {
      if (operation === undefined) continue;
      const { properties = {} } = jsonSchema(document, operation, 'response');
      expect(Object.keys(properties)).toContain(member);
      expect(resolved(document, properties[member] ?? {})).toBe(schema);
    }
  },
);

test('a translator names the schema of the CPO’s answer and a path to unpair that the contract has', () => {
  const { schemas = {} } = document.components;
  for (const party of ['scsp', 'cpo'] as const) {
    const paths = operationsOf(servedBy(document, party)).map(({ path }) => path);
    for (const [name, { responseSchema, unpairSegment }] of Object.entries(protocols)) {
      const theirs = halves.cpo.find(({ protocol }) => protocol === name);
      if (theirs !== undefined)
        expect([name, schemas[responseSchema]]).toEqual([name, jsonSchema(document, theirs.operation, 'response')]);
      expect(paths).toContain(`/v1/${party}/${unpairSegment}/{uid}/unpair`);
    }
  }
});
