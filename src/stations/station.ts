/** Models a charging station independently of the payload protocol. */
export type Station = {
  /** Identifies the station across all CPOs; compared case-insensitively, stored as sent. */
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
 * Returns the key under which a uid is unique. A uid is printable ASCII, so lower-casing does not depend on the locale.
 */
export function stationKey(uid: string): string {
  return uid.toLowerCase();
}

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
