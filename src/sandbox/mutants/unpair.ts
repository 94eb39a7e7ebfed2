import type { Received } from '../behaviour';
import { json } from '../reply';
import { codeOfUid } from '../scenarios';
import { changing, type Mutant, statusOf } from './change';

const serverError = () => json(500, { message: 'Internal server error.' });
const uidIn = ({ path }: Received) => path.split('/').at(-2) ?? '';

/** Each breaks the rule of the check that it is named after. */
export const unpairMutants = {
  'unpair-paired': { onUnpair: (outcome, times) => (times === 1 ? serverError() : outcome) },
  'unpair-twice': { onUnpair: (outcome, times) => (times === 1 ? outcome : serverError()) },
  'unpair-unknown': changing(
    (received) => received.kind === 'unpair' && /^[\w-]+$/.test(uidIn(received)),
    (outcome) =>
      statusOf(outcome) === 404 ? json(200, { message: 'Charging station successfully unpaired.' }) : outcome,
  ),
  'unpair-encoded-uid': changing(
    (received) => received.kind === 'unpair' && uidIn(received).includes('%2F'),
    serverError,
  ),
  'unpair-letter-case': { codeOfUid: (uid) => (uid.startsWith('SANDBOX-') ? codeOfUid(uid) : undefined) },
  'unpair-no-body': changing(
    ({ kind, headers }) => kind === 'unpair' && headers['content-type'] === undefined,
    () => json(415, { message: 'Unsupported media type.' }),
  ),
  'unpair-pairs-again': { pairsAgain: false },
} satisfies Record<string, Mutant>;
