/** Models a charging station independently of the payload protocol. */
export type Station = {
  /** Identifies the station, across all CPOs except self-service ones; compared case-insensitively, stored as sent. */
  readonly uid: string;
  readonly evses: readonly Evse[];
};

export type Evse = {
  readonly evseId: string | undefined;
  readonly capabilities: readonly string[] | undefined;
  readonly connectors: readonly Connector[];
};

export type Connector = {
  readonly id: string;
  readonly powerType: string;
  /** In V; line to neutral for three phases. */
  readonly maxVoltage: number;
  /** In A. */
  readonly maxAmperage: number;
  readonly standard: string | undefined;
  readonly format: string | undefined;
  /** In W. */
  readonly maxElectricPower: number | undefined;
};

/**
 * Returns the key under which a uid is unique: among all CPOs, or within one. A uid is printable ASCII, so lower-casing does not
 * depend on the locale, and no uid is equal to a key with a line feed.
 * @param scope the id of the CPO within which the uid is unique: a self-service CPO of a sandbox deployment
 */
export function stationKey(uid: string, scope?: string): string {
  return scope === undefined ? uid.toLowerCase() : `${scope}\n${uid.toLowerCase()}`;
}

/**
 * Returns an SQL array of the keys that a uid of a CPO may have.
 * @param cpoId an SQL expression of type uuid
 * @param uid an SQL expression of type text
 */
export const stationKeysSql = (cpoId: string, uid: string) =>
  `array[lower(${uid} collate "C") collate "default", ${cpoId} || E'\\n' || lower(${uid} collate "C") collate "default"]`;

/** Returns whether a value is a uid by the contract's schema `StationUid`. */
export function isUid(value: unknown): value is string {
  return typeof value === 'string' && /^[\x20-\x7e]{1,48}$/.test(value) && value !== '.' && value !== '..';
}

/** Returns the positions of ids that occur earlier in the list. Values other than strings and numbers are ignored. */
export function duplicatePositions(ids: readonly unknown[]): number[] {
  const seen = new Set<string | number>();
  return ids.flatMap((id, position) => {
    if (typeof id !== 'string' && typeof id !== 'number') return [];
    const key = typeof id === 'string' ? id.toLowerCase() : id;
    if (seen.has(key)) return [position];
    seen.add(key);
    return [];
  });
}
