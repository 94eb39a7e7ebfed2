import type { Command } from 'commander';
import { clientKitCommand } from './conformance-client';
import { cpoConformanceCommand } from './conformance-cpo';
import { noun, type Shell } from './verb';

export function conformanceCommands(program: Command, shell: Shell): void {
  const conformance = noun(program, 'conformance', 'checks the other party of the protocol against the contract');
  cpoConformanceCommand(conformance, shell);
  clientKitCommand(conformance, shell);
}
