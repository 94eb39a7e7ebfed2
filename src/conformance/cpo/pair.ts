import { notFound } from '../../cpos/answer';
import type { CpoCheck } from './cpo-check';
import { CheckFailed } from './exchange';
import { expectStatus, incorrectCode, type Kit, messageIn, pairBody, pairPath, send } from './kit';

/** Codes that a customer may type, or that an attacker tries. */
const ODD_CODES = [
  ' ',
  '-',
  'abc',
  '0',
  '１２３４５６',
  '💥🔌',
  '\u202e123456',
  '\u0000',
  "' or '1'='1",
  '../../unpair',
  '__proto__',
  'hasOwnProperty',
  '9'.repeat(64),
];

const BROKEN_BODIES = ['{', '{}', '[]', '{"code": {}}', '{"code": null}'];

const required = { level: 'required', changes: false, operation: 'cpoPairOcpp' } as const;

/** Sends a body to pair in the first protocol. */
const pairWith = (kit: Kit, body: string) => send(kit, { path: pairPath(kit.protocols[0]), body });

export const pairChecks: readonly CpoCheck[] = [
  {
    ...required,
    id: 'pair-incorrect-code',
    title: 'An incorrect code is answered 404 with a message, in each protocol',
    clause:
      'An incorrect code is answered 404 in JSON with `message`; a 404 without JSON is taken for a wrong base URL.',
    remedy: 'Answer 404 with `{"message": "Incorrect Code, please check the code and try again."}`.',
    async run(kit) {
      for (const protocol of kit.protocols) {
        const response = await send(kit, { path: pairPath(protocol), body: pairBody(incorrectCode()) });
        expectStatus(response, [404], `an incorrect code in ${protocol}`);
        if (notFound(response.answer).outcome !== 'incorrect-code')
          throw new CheckFailed('the 404 response is not JSON', response);
        if (messageIn(response.answer.bytes) === undefined)
          throw new CheckFailed('the 404 response has no `message`', response);
      }
    },
  },
  {
    ...required,
    id: 'pair-empty-body',
    title: 'An empty body is answered 400',
    clause: 'A malformed request is answered 400.',
    remedy: 'Answer 400 when the body is empty.',
    async run(kit) {
      expectStatus(await pairWith(kit, ''), [400], 'an empty body');
    },
  },
  {
    ...required,
    id: 'pair-broken-body',
    title: 'A broken body is answered 400',
    clause: 'A malformed request is answered 400.',
    remedy: 'Answer 400 when the body is not a JSON object with a string `code`.',
    async run(kit) {
      for (const body of BROKEN_BODIES) expectStatus(await pairWith(kit, body), [400], `the body ${body}`);
    },
  },
  {
    ...required,
    id: 'pair-odd-codes',
    title: 'Odd codes are answered 404 or 400',
    clause: 'A code is passed on as the customer typed it; an incorrect one is answered 404, never 5xx.',
    remedy: 'Treat a code as text: compare it with the codes that you issued, and never put it in a query or a path.',
    async run(kit) {
      for (const code of ODD_CODES)
        expectStatus(await pairWith(kit, pairBody(code)), [400, 404], `the code ${JSON.stringify(code)}`);
    },
  },
  {
    ...required,
    id: 'pair-unknown-members',
    title: 'Unknown members of a request are ignored',
    clause: 'Later versions of the service may send further members; unknown ones are ignored.',
    remedy: 'Ignore members that you do not know.',
    async run(kit) {
      const body = pairBody(incorrectCode(), { scsp_conformance: { unknown: [1, null] }, note: 'ignore this' });
      expectStatus(await pairWith(kit, body), [404], 'an incorrect code beside unknown members');
    },
  },
];
