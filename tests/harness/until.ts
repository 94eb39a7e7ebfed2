import { setTimeout as sleep } from 'node:timers/promises';

/** Between two questions, so that whoever is waited for has the processor. */
const PAUSE_MS = 5;
/** Long enough for anything that is sure to happen, on a busy machine too. */
const SURELY_MS = 30_000;

/** Asks until the answer is as wanted, or it is too late for that; returns the last answer. */
export async function until<Answer>(
  wanted: (answer: Answer) => boolean,
  ask: () => Promise<Answer>,
  withinMs = SURELY_MS,
): Promise<Answer> {
  for (const deadline = performance.now() + withinMs; ; ) {
    const answer = await ask();
    if (wanted(answer) || performance.now() > deadline) return answer;
    await sleep(PAUSE_MS);
  }
}

/**
 * Asks until something is so.
 * @throws Error when it is too late for that
 */
export async function untilSo(ask: () => boolean | Promise<boolean>, withinMs = SURELY_MS): Promise<void> {
  if (await until(Boolean, async () => ask(), withinMs)) return;
  throw new Error(`it is not so after ${withinMs} ms`);
}

/** Asks until the answer has the status, or it is too late for that; returns the last answer. */
export function untilStatus<Answer extends { status: number }>(
  status: number,
  ask: () => Promise<Answer>,
  withinMs?: number,
): Promise<Answer> {
  return until((answer) => answer.status === status, ask, withinMs);
}

/** Asks again after each 503: a busy machine does not begin all of many simultaneous requests within two seconds. */
export function untilAnswered<Answer extends { status: number }>(ask: () => Promise<Answer>): Promise<Answer> {
  return until(({ status }) => status !== 503, ask);
}

/** Waits until a server accepts no connections any more. */
export function untilRefused(url: string): Promise<void> {
  return untilSo(() =>
    fetch(url).then(
      () => false,
      () => true,
    ),
  );
}
