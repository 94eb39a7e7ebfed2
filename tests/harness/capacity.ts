import { GUESS_ODDS } from '../../src/codes/code';

/** How many codes of a length may be active at a time, if all values of that length can be issued. */
export const capacity = (length: number): number => Math.floor(10 ** length / GUESS_ODDS);
