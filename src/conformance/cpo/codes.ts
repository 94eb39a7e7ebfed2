import { uidIn } from '../../cpos/answer';
import { stationKey } from '../../stations/station';
import { type CpoCheck, NEEDS_FRESH, NEEDS_GOOD } from './cpo-check';
import { type Answered, CheckFailed, CheckNotRun } from './exchange';
import { expectStatus, incorrectCode, type Kit, once, pairBody, pairPath, sendAtOnce } from './kit';
import {
  codeRefused,
  isRefusal,
  isRefusalReported,
  pairedInAll,
  redeem,
  redeemIn,
  remember,
  takeCode,
  unpair,
} from './pairings';

export const NEEDS_SAME_STATION = '`same_station`: two codes of one station';
const RACERS = 10;
/** The burst: so many requests at once, so many times. */
const BURST = { atOnce: 10, times: 3 };

/**
 * Pairs, unpairs and pairs again one station, by its two codes.
 * @returns both responses to pair
 */
export const pairTwice = (kit: Kit): Promise<[Answered, Answered]> =>
  once(kit, 'one station twice', async () => {
    const [first, second] = kit.codes.same_station ?? [];
    if (first === undefined || second === undefined) throw new CheckNotRun(NEEDS_SAME_STATION);
    const [protocol] = kit.protocols;
    const one = await redeem(kit, protocol, first);
    const uid = one.answer.status === 200 ? uidIn(one.answer.bytes) : undefined;
    if (uid === undefined)
      throw new CheckNotRun('fresh codes in `same_station`: the first was not answered 200 with a uid');
    await unpair(kit, { protocol, uid });
    return [one, await redeem(kit, protocol, second)];
  });

const required = { level: 'required', changes: true, operation: 'cpoPairOcpp' } as const;

/** Creates a check that a code, which the CPO supplied, is answered 404. */
const incorrect = (member: 'used' | 'expired') => async (kit: Kit) => {
  const code = kit.codes[member];
  if (code === undefined) throw new CheckNotRun(`\`${member}\``);
  const [protocol] = kit.protocols;
  expectStatus(await redeem(kit, protocol, code), [404], `the code of \`${member}\``);
};

export const codeChecks: readonly CpoCheck[] = [
  {
    ...required,
    id: 'codes-leading-zero',
    title: 'Leading zeros of a code are significant',
    clause: 'A code is a string, because leading zeros are significant.',
    remedy: 'Compare codes as strings, not as numbers.',
    needs: NEEDS_GOOD,
    async run(kit) {
      // A code that is not valid would be answered 404 with the zero, too.
      if (isRefusalReported(kit)) throw new CheckNotRun(NEEDS_FRESH);
      const code = takeCode(kit);
      const response = await redeem(kit, kit.protocols[0], `0${code}`);
      // The code itself was not used, unless the check fails.
      if (response.answer.status === 404) kit.unusedCodes.unshift(code);
      expectStatus(response, [404], 'a zero before a code of `good`');
    },
  },
  {
    ...required,
    id: 'codes-once',
    title: 'A code that has paired is answered 404 afterwards',
    clause: 'The code is unknown or no longer valid: 404. A code pairs once.',
    remedy: 'Use up a code in the step that pairs the station.',
    needs: NEEDS_GOOD,
    async run(kit) {
      const [paired] = await pairedInAll(kit);
      if (paired === undefined) throw new CheckNotRun(NEEDS_GOOD);
      const { code } = await redeemIn(kit, paired.protocol);
      expectStatus(await redeem(kit, paired.protocol, code), [404], 'a code of `good` for the second time');
    },
  },
  {
    ...required,
    changes: false,
    id: 'codes-used',
    title: 'A used code is answered 404',
    clause: 'The code is unknown or no longer valid: 404.',
    remedy: 'Answer 404 for a used code, as for an unknown one.',
    needs: '`used`',
    run: incorrect('used'),
  },
  {
    ...required,
    changes: false,
    id: 'codes-expired',
    title: 'An expired code is answered 404',
    clause: 'The code is unknown or no longer valid: 404.',
    remedy: 'Answer 404 for an expired code, as for an unknown one.',
    needs: '`expired`',
    run: incorrect('expired'),
  },
  {
    ...required,
    id: 'codes-race',
    title: 'Of ten simultaneous redemptions of a code exactly one is answered 200',
    clause: 'A code pairs once, however many requests arrive at once; the others are answered 404.',
    remedy: 'Use up the code in one atomic step, for example `update … where used_at is null`.',
    needs: NEEDS_GOOD,
    async run(kit) {
      const [protocol] = kit.protocols;
      const request = { path: pairPath(protocol), body: pairBody(takeCode(kit)) };
      const responses = await sendAtOnce(
        kit,
        Array.from({ length: RACERS }, () => request),
      );
      for (const response of responses) remember(kit, protocol, response);
      const [any] = responses;
      if (any !== undefined && responses.every(isRefusal)) throw codeRefused(protocol, any);
      const winners = responses.filter(({ answer }) => answer.status === 200);
      if (winners.length !== 1)
        throw new CheckFailed(
          `${winners.length} of ${RACERS} simultaneous requests got 200`,
          winners[1] ?? responses[0],
        );
      const others = responses.filter(({ answer }) => answer.status !== 200);
      for (const response of others) expectStatus(response, [404], 'a simultaneous request that lost');
    },
  },
  {
    ...required,
    id: 'codes-same-uid',
    title: 'A station has the same uid each time',
    clause: 'uid identifies the station in all later requests.',
    remedy: 'Send the identity of the station, not an id of the request or of the pairing.',
    needs: NEEDS_SAME_STATION,
    async run(kit) {
      const uids = (await pairTwice(kit)).map(({ answer }) =>
        answer.status === 200 ? uidIn(answer.bytes) : undefined,
      );
      const [first, second] = uids;
      if (first === undefined || second === undefined) throw new CheckNotRun('unpair-pairs-again to pass');
      if (stationKey(first) !== stationKey(second))
        throw new CheckFailed(
          `the codes of one station have the uids ${first} and ${second}`,
          (await pairTwice(kit))[1],
        );
    },
  },
];

/** Runs last: a CPO may limit incorrect codes. */
export const burstCheck: CpoCheck = {
  id: 'codes-burst',
  level: 'recommended',
  changes: false,
  title: 'A burst of incorrect codes is answered 404 or 429',
  clause:
    'An incorrect code is answered 404. All customers share one token: they must not lock each other out by 401, 403 or 5xx.',
  operation: 'cpoPairOcpp',
  remedy: 'Answer 404, or 429 with Retry-After where you limit incorrect codes. Do not block the token.',
  async run(kit) {
    const path = pairPath(kit.protocols[0]);
    for (let time = 0; time < BURST.times; time += 1) {
      const requests = Array.from({ length: BURST.atOnce }, () => ({ path, body: pairBody(incorrectCode()) }));
      for (const response of await sendAtOnce(kit, requests))
        expectStatus(response, [404, 429], 'an incorrect code in a burst');
    }
  },
};
