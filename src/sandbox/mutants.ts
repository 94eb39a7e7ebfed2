import { authenticationMutants } from './mutants/authentication';
import { codeMutants } from './mutants/codes';
import { pairMutants } from './mutants/pair';
import { transportMutants } from './mutants/transport';
import { unpairMutants } from './mutants/unpair';

/**
 * The rules that the sandbox CPO breaks on demand, one at a time, each under the name of the conformance check that must find
 * it. The checks of TLS and addresses have none here: they need another server.
 */
export const mutants = {
  ...transportMutants,
  ...authenticationMutants,
  ...pairMutants,
  ...codeMutants,
  ...unpairMutants,
};

export type MutantName = keyof typeof mutants;

export const isMutantName = (name: string): name is MutantName => Object.hasOwn(mutants, name);
