import { NEEDS_SAME_STATION, pairTwice } from './codes';
import { type CpoCheck, NEEDS_GOOD } from './cpo-check';
import { type Answered, CheckFailed } from './exchange';
import { expectStatus, type Kit, once, type PairedStation, send, unknownUid, unpairPath } from './kit';
import { takeStation, unpair } from './pairings';

/** Responses that the service takes for a confirmed unpair. 404 and 410: the CPO does not know the station. */
const DONE = [200, 201, 202, 204] as const;
const UNKNOWN = [404, 410] as const;
/** Characters that have a meaning in a path, and others that clients encode. */
const ODD_UIDS = ['a/b', 'a b', 'a?b#c', 'a%2Fb', 'a+b&c=d', "NL*ABC*E1'(2)"];

const required = { level: 'required', operation: 'cpoUnpairChargingStation' } as const;

/** Unpairs a station that the run has paired. */
const unpairOnce = (kit: Kit): Promise<{ station: PairedStation; response: Answered }> =>
  once(kit, 'unpair a paired station', async () => {
    const station = await takeStation(kit);
    return { station, response: await unpair(kit, station) };
  });

/** Returns the unpair path of each format that the run checks, for one uid. */
const pathsOf = ({ protocols }: Kit, uid: string) => new Set(protocols.map((protocol) => unpairPath(protocol, uid)));

const swapCase = (text: string) =>
  text.replace(/[a-z]/gi, (letter) => (letter === letter.toLowerCase() ? letter.toUpperCase() : letter.toLowerCase()));

export const unpairChecks: readonly CpoCheck[] = [
  {
    ...required,
    id: 'unpair-paired',
    changes: true,
    title: 'The unpair of a paired station is answered 200',
    clause: 'An unpair of a paired station is answered 200; any 2xx is taken for it.',
    remedy: 'Find the station by its `uid` as you sent it in the response to pair, and end the pairing.',
    needs: NEEDS_GOOD,
    async run(kit) {
      expectStatus((await unpairOnce(kit)).response, DONE, 'the unpair of a paired station');
    },
  },
  {
    ...required,
    id: 'unpair-twice',
    changes: true,
    title: 'The same unpair again is answered 200 or 404',
    clause:
      'A notification is delivered at least once: respond with any 2xx, 404 or 410, also if you have received it before.',
    remedy: 'Make unpair idempotent.',
    needs: NEEDS_GOOD,
    async run(kit) {
      const { station } = await unpairOnce(kit);
      expectStatus(await unpair(kit, station), [...DONE, ...UNKNOWN], 'the second unpair of a station');
    },
  },
  {
    ...required,
    id: 'unpair-unknown',
    changes: false,
    title: 'The unpair of an unknown station is answered 404',
    clause: 'The station is unknown or already unpaired: 404.',
    remedy: 'Answer 404 for a `uid` that you do not know: a 200 would hide that a station is mixed up.',
    async run(kit) {
      for (const path of pathsOf(kit, unknownUid()))
        expectStatus(await send(kit, { path }), UNKNOWN, 'the unpair of an unknown station');
    },
  },
  {
    ...required,
    id: 'unpair-encoded-uid',
    changes: false,
    title: 'A percent-encoded uid arrives as one path segment',
    clause: 'The uid is percent-encoded in the path; the response for an unknown one is 404 in JSON with `message`.',
    remedy: 'Route on the encoded path and decode the segment once. Proxies must not decode or refuse %2F.',
    async run(kit) {
      for (const odd of ODD_UIDS)
        for (const path of pathsOf(kit, `${unknownUid()} ${odd}`)) {
          const response = await send(kit, { path });
          expectStatus(response, UNKNOWN, `the unpair of an unknown station whose uid contains ${odd}`);
          // A 404 of a router would be taken for a confirmation.
          if (!/^\s*\{.*"message"/s.test(response.answer.bytes.toString('utf8')))
            throw new CheckFailed('the 404 response has no `message`: it may come from a router', response);
        }
    },
  },
  {
    ...required,
    level: 'recommended',
    id: 'unpair-letter-case',
    changes: true,
    title: 'The uid is compared without regard to letter case',
    clause: 'uid is compared without regard to case.',
    remedy: 'Compare uids without regard to case.',
    needs: `${NEEDS_GOOD}, of a station whose uid contains letters`,
    async run(kit) {
      const { protocol, uid } = await takeStation(kit, (station) => swapCase(station.uid) !== station.uid);
      const response = await send(kit, { path: unpairPath(protocol, swapCase(uid)) });
      if (!DONE.some((status) => status === response.answer.status)) kit.stations.push({ protocol, uid });
      expectStatus(response, DONE, 'the unpair of a paired station, with the letter case of its uid changed');
    },
  },
  {
    ...required,
    id: 'unpair-no-body',
    changes: false,
    title: 'An unpair without a body and without Content-Type is accepted',
    clause: 'An unpair has no body.',
    remedy: 'Do not require a body, Content-Type or Content-Length for unpair.',
    async run(kit) {
      for (const path of pathsOf(kit, unknownUid())) {
        const response = await send(kit, { path });
        if ([400, 411, 413, 415, 422].includes(response.answer.status))
          throw new CheckFailed(`an unpair without a body: got ${response.answer.status}`, response);
      }
    },
  },
  {
    ...required,
    id: 'unpair-pairs-again',
    changes: true,
    title: 'A station can be paired again after an unpair',
    clause: 'Afterwards the uid can be paired again.',
    operation: 'cpoPairOcpp',
    remedy: 'Let a new code pair the station once it is unpaired.',
    needs: NEEDS_SAME_STATION,
    async run(kit) {
      const [, again] = await pairTwice(kit);
      expectStatus(again, [200], 'a code of a station that was unpaired');
    },
  },
];
