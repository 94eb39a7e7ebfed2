import { json } from '../reply';
import { isValidCode } from '../scenarios';
import { changing, type Mutant } from './change';

/** More incorrect codes in a row than any other check sends. */
const BURST = 25;

/** Each breaks the rule of the check that it is named after. */
export const codeMutants = {
  'codes-leading-zero': { readCode: (code) => code.replace(/^0+(?=[1-3]\d{5}$)/, '') },
  'codes-once': { isUsedUp: () => false },
  'codes-used': { isValidCode: (code) => isValidCode(code) || /^4\d{5}$/.test(code) },
  'codes-expired': { isValidCode: (code) => isValidCode(code) || /^5\d{5}$/.test(code) },
  'codes-race': { usesLate: true },
  'codes-same-uid': { uidOf: (code, nth) => (code.startsWith('2') ? `SANDBOX-${code}-${nth}` : `SANDBOX-${code}`) },
  'codes-burst': changing(
    ({ incorrectInARow }) => incorrectInARow > BURST,
    () => json(500, { message: 'Internal server error.' }),
  ),
} satisfies Record<string, Mutant>;
