/** A charging station as every payload protocol describes it; protocols translate to and from this. */
export type Station = {
  /** Identifies the station in the whole platform, without regard to case; spelt as it was sent. */
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
  /** Volts; for three phases line to neutral. */
  readonly maxVoltage: number;
  /** Amperes. */
  readonly maxAmperage: number;
  readonly standard: string | undefined;
  readonly format: string | undefined;
  /** Watts. */
  readonly maxElectricPower: number | undefined;
};

/** The key under which a uid is unique: printable ASCII has one lower case, whatever the locale. */
export function stationKey(uid: string): string {
  return uid.toLowerCase();
}

/** Positions of the values that stood earlier in the list already; values that are no ids are passed over. */
export function repeated(ids: readonly unknown[]): number[] {
  const seen = new Set<string | number>();
  return ids.flatMap((id, position) => {
    if (typeof id !== 'string' && typeof id !== 'number') return [];
    const key = typeof id === 'string' ? id.toLowerCase() : id;
    if (seen.has(key)) return [position];
    seen.add(key);
    return [];
  });
}
