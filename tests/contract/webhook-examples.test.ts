import Ajv from 'ajv/dist/2020';
import addFormats from 'ajv-formats';
import { readContract } from '../../src/contract/document';
import { formats } from '../../src/contract/formats';
import { type StoredEvent, typesFor, writeEvent } from '../../src/events/events';

type Example = { id: string; type: string; timestamp: string; position?: string; data: Record<string, unknown> };
type Webhook = {
  post: { requestBody: { content: { 'application/json': { schema: { $ref: string }; example: Example } } } };
};
const document: Record<string, unknown> = { ...readContract().document };
const webhooks = Object.entries(document.webhooks as Record<string, Webhook>).map(([name, { post }]) => {
  const { schema, example } = post.requestBody.content['application/json'];
  return { name, schema: schema.$ref.replace('#/', 'openapi.yaml#/'), example };
});

const ajv = new Ajv({ strict: false, allErrors: true, formats });
addFormats(ajv);
ajv.addSchema(document, 'openapi.yaml');
const matches = (schema: string, value: unknown) => ajv.validate({ $ref: schema }, value) || ajv.errors;

/** An event of a type that refers to everything, of which nothing was erased; its members are those of the example. */
function stored(example: Example): StoredEvent {
  const { data } = example;
  const text = (member: string) => (data[member] === undefined ? null : String(data[member]));
  const time = (member: string) => (data[member] === undefined ? null : new Date(String(data[member])));
  const customer = { userId: 'user-1', chargingLocationId: 'home' };
  return {
    id: example.id,
    type: example.type as StoredEvent['type'],
    occurredAt: new Date(example.timestamp),
    position: example.position ?? '',
    codeId: text('code_id'),
    pairingId: text('pairing_id'),
    cpoId: text('cpo_id'),
    reason: text('reason'),
    attempts: data.attempts === undefined ? null : Number(data.attempts),
    replacedBy: text('replaced_by'),
    endpointId: text('endpoint_id'),
    failingSince: time('failing_since'),
    pairing: { ...customer, codeId: text('code_id'), uid: '5f69ad2c0ed5ca86d449cc93', payloadProtocol: 'ocpp2.0.1' },
    pairedAt: time('paired_at'),
    endedAt: time('unpaired_at'),
    endedBy: null,
    code: customer,
  };
}

test('every type of event has a webhook, and a test has one', () => {
  const described = webhooks.map(({ example }) => example.type).sort();
  expect(described).toEqual([...typesFor({ app: 'any' }), 'webhook.test'].sort());
});

test.each(webhooks)('the example of $name fits its schema', ({ schema, example }) => {
  expect(matches(schema, example)).toBe(true);
  expect(matches(schema, { ...example, type: 'another.type' })).not.toBe(true);
});

test.each(webhooks.filter(({ example }) => example.type !== 'webhook.test'))(
  'the example of $name is what is sent',
  ({ example }) => expect(JSON.parse(JSON.stringify(writeEvent(stored(example))))).toEqual(example),
);

test.each(webhooks.filter(({ example }) => example.type !== 'webhook.test'))(
  '$name has the same form when its user was forgotten, without anything personal',
  ({ schema, example }) => {
    const erased = JSON.parse(JSON.stringify(writeEvent({ ...stored(example), pairing: null, code: null })));
    expect(matches(schema, erased)).toBe(true);
    for (const member of ['user_id', 'charging_location_id', 'uid']) expect(erased.data).not.toHaveProperty(member);
  },
);
