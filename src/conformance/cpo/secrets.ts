import { contains, finderOf, replaceSecrets } from './spellings';

/** What must never be printed: the token, and the codes that the CPO supplied. */
export type Secrets = { readonly token: string; readonly codes: readonly string[] };

/** `$TOKEN` is the token for the service in the commands of the other guides. */
const VARIABLES = { token: 'MY_TOKEN', code: 'CODE' } as const;

export type Mask = {
  /**
   * Masks the token and the codes in a text.
   * @param asVariables whether to put shell variables in their places, for a text within single quotes
   */
  all(text: string, asVariables?: boolean): string;
  /** Masks the beginning of a long text of the target, without a part of a secret at its end. */
  start(text: string): string;
};

/** How much of a text of the target is masked: masking costs time for each code and character. */
const MASKED_LENGTH = 8_000;
/** The length of the longest spelling of a character. */
const LONGEST_SPELLING = 14;

export function createMask({ token, codes }: Secrets): Mask {
  // `auth-altered-token` sends the token without its last character.
  const tokens = [token, token.slice(0, -1)].map(finderOf);
  // The longest first: one code may contain another.
  const rest = [...new Set(codes)].sort((a, b) => b.length - a.length);
  const finders = rest.map(finderOf);
  const longest = Math.max(token.length, rest[0]?.length ?? 0) * LONGEST_SPELLING;
  const all = (text: string, asVariables = false) => {
    const named = (name: keyof typeof VARIABLES) => (asVariables ? `'"$${VARIABLES[name]}"'` : `<${name}>`);
    return replaceSecrets(text, [
      ...tokens.map((find) => ({ find, by: named('token') })),
      ...finders.map((find) => ({ find, by: named('code') })),
    ]);
  };
  const start = (text: string) =>
    text.length <= MASKED_LENGTH ? all(text) : all(text.slice(0, MASKED_LENGTH)).slice(0, -longest);
  return { all, start };
}

/** Returns whether a text contains the token in any letter case and spelling. */
export const containsToken = (text: string, token: string): boolean => contains(text, finderOf(token));
