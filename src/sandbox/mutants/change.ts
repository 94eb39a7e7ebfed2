import type { Behaviour, Received } from '../behaviour';
import type { Outcome } from '../reply';

/** A rule that the sandbox CPO breaks. */
export type Mutant = Partial<Behaviour>;

/** Creates a mutant that changes the outcome of some requests. */
export const changing = (
  applies: (received: Received) => boolean,
  change: (outcome: Outcome, received: Received) => Outcome,
): Mutant => ({
  answer: (outcome, received) => (applies(received) ? change(outcome, received) : outcome),
});

export const isFirstUnpair = ({ kind, nth }: Received) => kind === 'unpair' && nth === 1;
export const isPair = ({ kind }: Received) => kind === 'pair';

/** Changes the JSON body of a response. */
export const withBody = ({ reply, ...rest }: Outcome, change: (body: Record<string, unknown>) => unknown): Outcome =>
  reply === undefined
    ? { ...rest }
    : { ...rest, reply: { ...reply, body: JSON.stringify(change(JSON.parse(String(reply.body)))) } };

/** Removes a header of a response. */
export const withoutHeader = ({ reply, ...rest }: Outcome, name: string): Outcome => {
  if (reply === undefined) return rest;
  const { [name]: _removed, ...headers } = reply.headers;
  return { ...rest, reply: { ...reply, headers } };
};

export const statusOf = ({ reply }: Outcome) => reply?.status;
