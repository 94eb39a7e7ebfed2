import { changing, isPair, type Mutant, statusOf, withBody, withoutHeader } from './change';

/** Each breaks the rule of the check that it is named after. */
export const authenticationMutants = {
  'auth-token-accepted': { isAuthorized: () => false },
  'auth-missing-token': {
    isAuthorized: (authorization, query, token) =>
      authorization === `Bearer ${token}` || (authorization === undefined && !query.has('access_token')),
  },
  'auth-wrong-token': {
    isAuthorized: (authorization, _query, token) =>
      authorization?.startsWith('Bearer ') === true &&
      (!similar(authorization, token) || authorization.endsWith(` ${token}`)),
  },
  'auth-altered-token': {
    isAuthorized: (authorization, _query, token) => authorization?.startsWith(`Bearer ${token}`) === true,
  },
  'auth-token-in-query': {
    isAuthorized: (authorization, query, token) =>
      authorization === `Bearer ${token}` || query.get('access_token') === token,
  },
  'auth-www-authenticate': changing(
    () => true,
    (outcome) => withoutHeader(outcome, 'www-authenticate'),
  ),
  'auth-no-token-echo': changing(
    (received) => isPair(received),
    (outcome, { token }) =>
      statusOf(outcome) === 404
        ? withBody(outcome, ({ message }) => ({ message: `${message} Token: ${token}` }))
        : outcome,
  ),
} satisfies Record<string, Mutant>;

/** Returns whether a header has the token with a character more or less. */
const similar = (authorization: string, token: string) => authorization.includes(token.slice(0, -1));
