import type { Call } from '../calls/call';
import type { Problem } from '../problems';

/**
 * Says what was wrong with a test redemption: what an app would be told, and what the developer of the CPO can do about it.
 * @param call the call to the CPO, if one was made
 */
export function redemptionMessage({ message }: Problem, call: Call | undefined): string {
  const [error] = call?.errors ?? [];
  if (call?.outcome === 'unreachable' && error !== undefined) return `The CPO could not be reached: ${error.message}.`;
  if (call?.outcome === 'incorrect-code')
    return `${message} If the code is good, check base_url: your backend may answer unknown paths with a JSON 404, too.`;
  if (call?.status === 401)
    return `${message} Compare the token that it expects with the one that you set with PUT /v1/scsp/me/endpoint.`;
  return message;
}
