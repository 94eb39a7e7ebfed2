import { notFound, uidIn } from '../../cpos/answer';
import type { PayloadProtocol } from '../../protocols';
import { stationKey } from '../../stations/station';
import { NEEDS_FRESH, NEEDS_GOOD } from './cpo-check';
import { type Answered, CheckFailed, CheckNotRun, CodeRefused } from './exchange';
import { type Kit, once, type PairedStation, pairBody, pairPath, send, unpairPath } from './kit';

const REFUSED = 'refused code';

/** Returns whether a check of the run has failed because a code of `good` was refused. */
export const isRefusalReported = ({ shared }: Kit): boolean => shared.has(REFUSED);

/** Returns whether a check is the one that reports that a code of `good` was refused: the first is. */
export const reportsRefusal = async (kit: Kit, id: string): Promise<boolean> =>
  (await once(kit, REFUSED, async () => id)) === id;

/** Takes a code of `good` that was not sent before. @throws CheckNotRun when there is none */
export function takeCode(kit: Kit): string {
  const code = kit.unusedCodes.shift();
  if (code === undefined) throw new CheckNotRun(isRefusalReported(kit) ? NEEDS_FRESH : NEEDS_GOOD);
  return code;
}

/** Remembers the station of a response, so that it is unpaired at the end of the run at the latest. */
export function remember(kit: Kit, protocol: PayloadProtocol, { answer }: Answered): void {
  const uid = answer.status === 200 ? uidIn(answer.bytes) : undefined;
  if (uid === undefined || kit.stations.some((station) => stationKey(station.uid) === stationKey(uid))) return;
  kit.stations.push({ protocol, uid });
}

/** Redeems a code. */
export async function redeem(kit: Kit, protocol: PayloadProtocol, code: string): Promise<Answered> {
  const response = await send(kit, { path: pairPath(protocol), body: pairBody(code) });
  remember(kit, protocol, response);
  return response;
}

/**
 * Redeems a code of `good` for the first time.
 * @throws CodeRefused when it is answered as an incorrect code
 */
async function redeemGood(kit: Kit, protocol: PayloadProtocol, code: string): Promise<Answered> {
  const response = await redeem(kit, protocol, code);
  if (isRefusal(response)) throw codeRefused(protocol, response);
  return response;
}

/** Creates the error for a code of `good` that is answered as an incorrect one. */
export const codeRefused = (protocol: PayloadProtocol, response: Answered) =>
  new CodeRefused(
    `${protocol}: your backend does not accept this code of \`good\` (any more)`,
    response,
    `Issue new codes for each run. If others are accepted, your backend may not serve ${protocol}: leave it out with --protocols.`,
  );

/** Returns whether a response says that the code is incorrect. Without JSON the path is not served. */
export const isRefusal = ({ answer }: Answered): boolean =>
  answer.status === 404 && notFound(answer).outcome === 'incorrect-code';

/** A code of `good` and the response to its first use. */
export type Redeemed = { readonly code: string; readonly response: Answered };

/** Redeems a code of `good` in a protocol, once for all checks of this run. */
export const redeemIn = (kit: Kit, protocol: PayloadProtocol): Promise<Redeemed> =>
  once(kit, `pair in ${protocol}`, async () => {
    const code = takeCode(kit);
    return { code, response: await redeemGood(kit, protocol, code) };
  });

/** Returns the 200 responses in all protocols. @throws CheckNotRun or CodeRefused when there is none */
export async function pairedInAll(kit: Kit): Promise<{ protocol: PayloadProtocol; response: Answered }[]> {
  const paired: { protocol: PayloadProtocol; response: Answered }[] = [];
  let reason: Error = new CheckNotRun('a code of `good` that is answered 200');
  for (const protocol of kit.protocols) {
    const result = await redeemIn(kit, protocol).catch((error: unknown) => {
      // That there was no response is the subject of the check of this protocol.
      if (error instanceof CodeRefused) reason = error;
      else if (error instanceof CheckNotRun) reason = reason instanceof CodeRefused ? reason : error;
      else if (!(error instanceof CheckFailed)) throw error;
    });
    if (result?.response.answer.status === 200) paired.push({ protocol, response: result.response });
  }
  if (paired.length === 0) throw reason;
  return paired;
}

/**
 * Takes a station that the run has paired, or pairs one.
 * @throws CheckNotRun or CodeRefused when there is none
 */
export async function takeStation(kit: Kit, suits: (station: PairedStation) => boolean = () => true) {
  const taken = () => {
    const at = kit.stations.findIndex(suits);
    return at === -1 ? undefined : kit.stations.splice(at, 1)[0];
  };
  const known = taken();
  if (known !== undefined) return known;
  await redeemGood(kit, kit.protocols[0], takeCode(kit));
  const paired = taken();
  if (paired === undefined) throw new CheckNotRun('a code of `good` whose station is suitable');
  return paired;
}

/** Sends an unpair for a station, as the service does. */
export const unpair = (kit: Kit, { protocol, uid }: PairedStation): Promise<Answered> =>
  send(kit, { path: unpairPath(protocol, uid) });

/** Unpairs what the run has paired and not unpaired, as far as the target answers. */
export async function unpairAll(kit: Kit): Promise<void> {
  for (const station of kit.stations.splice(0)) {
    try {
      await unpair(kit, station);
    } catch (error) {
      if (error instanceof CheckNotRun) return;
      if (!(error instanceof CheckFailed)) throw error;
    }
  }
}
