import { randomInt, randomUUID } from 'node:crypto';
import { createCodes, type Database } from './database';
import { freshUid, httpRequest, pairRequest } from './requests';
import type { HttpTarget } from './target';

/** Prepares what the nth request needs and returns how to build it, and the status that each must be answered with. */
export type Operation = (
  target: HttpTarget,
  cpos: number,
) => Promise<{ readonly status: string; readonly request: (n: number) => string }>;

/** A code of six digits that nobody has now. */
export const incorrectCode: Operation = async ({ database }, cpos) => ({
  status: '404',
  request: (n) => pairRequest(database.cpos[n % cpos]!.token, String(randomInt(1_000_000)).padStart(6, '0')),
});

/** A code that is right, for a station that is paired already. */
export const takenUid: Operation = async (target, cpos) => {
  const { database } = target;
  const [used, active] = (await createCodes(database, 2)) as [string, string];
  const uid = freshUid();
  await target.prepareRequests([pairRequest(database.cpos[0]!.token, used, uid)], '200', 1)();
  return { status: '409', request: (n) => pairRequest(database.cpos[n % cpos]!.token, active, uid) };
};

/** A code for a user who has none. */
export const issueCode: Operation = async ({ database }) => ({
  status: '201',
  request: () =>
    httpRequest('POST', '/v1/app/pairing-codes', database.appToken, {
      user_id: randomUUID(),
      charging_location_id: 'home',
    }),
});

/** The first page of a user's stations. */
export const listStations =
  (user: () => string): Operation =>
  async ({ database }) => ({
    status: '200',
    request: () => httpRequest('GET', `/v1/app/charging-stations?user_id=${user()}`, database.appToken),
  });

/** Questions about stations, each at an instant of one of its pairings. */
async function linkQuestions({ sql }: Database, uid: () => string): Promise<LinkQuestion[]> {
  const { rows } = await sql.query<{ uid: string; cpo_id: string; at: Date }>(
    `select station_uid as uid, cpo_id, paired_at + interval '1 second' as at from pairings
     where station_uid = any ($1) and (ended_at is null or ended_at is not null) order by random()`,
    [Array.from({ length: QUESTIONS }, uid)],
  );
  return rows.map(({ at, ...station }) => ({ ...station, at: at.toISOString() }));
}
type LinkQuestion = { uid: string; cpo_id: string; at: string };
const QUESTIONS = 4096;

/** So many links in a request. */
export const resolveLinks =
  (count: number, uid: () => string): Operation =>
  async ({ database }) => {
    const questions = await linkQuestions(database, uid);
    const links = (n: number) => Array.from({ length: count }, (_, i) => questions[(n * count + i) % questions.length]);
    return {
      status: '200',
      request: (n) => httpRequest('POST', '/v1/links/resolve', database.appToken, { links: links(n) }),
    };
  };

/** The link of a station at an instant. */
export const linkAt =
  (uid: () => string): Operation =>
  async ({ database }) => {
    const questions = await linkQuestions(database, uid);
    const query = (n: number) => new URLSearchParams(questions[n % questions.length]);
    return { status: '200', request: (n) => httpRequest('GET', `/v1/links?${query(n)}`, database.appToken) };
  };
