import { type ProblemType, problems } from './problem-types';

/** Problems that only a sandbox deployment has. */
const SANDBOX_PROBLEMS: ReadonlySet<string> = new Set<ProblemType>([
  'certification-running',
  'form-refused',
  'too-many-sandbox-cpos',
]);

/** Returns the problems that a deployment has, with their types. */
export function problemsOf({ sandbox }: { readonly sandbox: boolean }) {
  return Object.entries(problems).filter(([type]) => sandbox || !SANDBOX_PROBLEMS.has(type));
}
