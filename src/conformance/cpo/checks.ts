import { authenticationChecks } from './authentication';
import { burstCheck, codeChecks } from './codes';
import type { CpoCheck } from './cpo-check';
import { pairChecks } from './pair';
import { pairStationChecks } from './pair-station';
import { transportChecks } from './transport';
import { unpairChecks } from './unpair';

/** All checks of a CPO's endpoint, in the order in which they run. */
export const cpoChecks: readonly CpoCheck[] = [
  ...transportChecks,
  ...authenticationChecks,
  ...pairStationChecks,
  ...pairChecks,
  ...codeChecks,
  ...unpairChecks,
  burstCheck,
];

/** Returns the checks with a name, or of an area (`unpair`). */
export const checksNamed = (name: string): CpoCheck[] =>
  cpoChecks.filter(({ id }) => id === name || id.startsWith(`${name}-`));
