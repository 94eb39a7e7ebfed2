import type { Attempt } from '../attempts/attempts';
import type { Context } from '../context';
import type { CodeStatus } from '../db/schema/codes';

export type CaseContext = Pick<Context, 'db' | 'keys'>;

/** What a case is about: exactly one of these. */
export type CaseKey = {
  readonly user?: string | undefined;
  readonly uid?: string | undefined;
  readonly request?: string | undefined;
  readonly codeId?: string | undefined;
};

export type CaseCode = {
  readonly id: string;
  readonly userId: string | null;
  readonly chargingLocationId: string | null;
  /** The only CPO that can use it. */
  readonly cpoId: string | null;
  readonly status: CodeStatus;
  readonly createdAt: Date;
  readonly expiresAt: Date;
  readonly endedAt: Date | null;
};

export type CasePairing = {
  readonly id: string;
  readonly codeId: string | null;
  readonly cpoId: string;
  readonly uid: string | null;
  readonly userId: string | null;
  readonly pairedAt: Date;
  readonly endedAt: Date | null;
  readonly endedBy: string | null;
};

/** An attempt with the id of the code that was sent, if it can be told. */
export type CaseAttempt = Attempt & { readonly codeId?: string | undefined };
export type CaseRedemption = { readonly beganAt: Date; readonly outcome: string | null };

/** The codes, pairings and attempts of a case, the latest first. */
export type Case = {
  readonly key: CaseKey;
  readonly codes: readonly CaseCode[];
  readonly pairings: readonly CasePairing[];
  readonly attempts: readonly CaseAttempt[];
  /** Redemptions of CPO-issued codes by the user, within the last day. */
  readonly redemptions: readonly CaseRedemption[];
  /** The kinds of entries of which the oldest were left out. */
  readonly leftOut: Set<string>;
};

/** The most entries of a kind. */
export const MOST = 100;

/** Returns the first MOST rows, and notes if there were more. */
export function atMost<Row>(found: readonly Row[], kind: string, leftOut: Set<string>): Row[] {
  if (found.length > MOST) leftOut.add(kind);
  return found.slice(0, MOST);
}
