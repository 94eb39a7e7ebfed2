import { problems } from './problem-types';
import { sandboxProblems } from './sandbox-problem-types';

/** Returns the problems that a deployment has, with their types. */
export function problemsOf({ sandbox }: { readonly sandbox: boolean }) {
  return Object.entries(problems).filter(([type]) => sandbox || !(type in sandboxProblems));
}
