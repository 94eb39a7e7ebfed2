import { OperatorError } from '../../problems';

/** The codes that only the CPO can supply (`codes.json`). Every code of `good` may be used up. */
export type CpoCodes = {
  readonly good?: readonly string[];
  /** Two codes of one station. */
  readonly same_station?: readonly string[];
  readonly used?: string;
  readonly expired?: string;
};

const LISTS = ['good', 'same_station'];
const SINGLE = ['used', 'expired'];
const MAX_CODES = 100;

const isCode = (value: unknown): value is string => typeof value === 'string' && /^.{1,64}$/su.test(value);

/**
 * Parses `codes.json`.
 * @throws OperatorError that names the member, without any code
 */
export function parseCodes(text: string): CpoCodes {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new OperatorError('the file of codes is not valid JSON');
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw new OperatorError('the file of codes must contain a JSON object');
  for (const [name, value] of Object.entries(json)) {
    if (!LISTS.includes(name) && !SINGLE.includes(name))
      throw new OperatorError(
        `the file of codes has an unknown member ${JSON.stringify(name.slice(0, 40))}: known are ${[...LISTS, ...SINGLE].join(', ')}`,
      );
    if (SINGLE.includes(name) && !isCode(value))
      throw new OperatorError(`${name} in the file of codes must be a string of 1 to 64 characters`);
    if (LISTS.includes(name) && !(Array.isArray(value) && value.length <= MAX_CODES && value.every(isCode)))
      throw new OperatorError(
        `${name} in the file of codes must be a list of at most ${MAX_CODES} strings of 1 to 64 characters`,
      );
  }
  if ('good' in json && Array.isArray(json.good) && new Set(json.good).size < json.good.length)
    throw new OperatorError('good in the file of codes contains a code twice');
  return json;
}

export const allCodes = ({ good = [], same_station = [], used, expired }: CpoCodes): string[] =>
  [...good, ...same_station, used, expired].filter((code) => code !== undefined);
