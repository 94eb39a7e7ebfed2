const started: (() => unknown)[] = [];

/**
 * Ends something that a test has started after the last test of its file, whether that passed or failed: what is left
 * open keeps jest running. The latest is ended first.
 * @param end may have been called before by then
 */
export function endLater(end: () => unknown): void {
  started.push(end);
}

/** Ends everything that tests have started so far. */
export async function endStarted(): Promise<void> {
  const failures: unknown[] = [];
  for (const end of started.splice(0).reverse())
    await Promise.resolve()
      .then(end)
      .catch((error: unknown) => failures.push(error));
  if (failures.length > 0) throw failures[0];
}
afterAll(endStarted);

/** A function that does its work once, whoever calls it how often. */
export function once<T>(work: () => Promise<T>): () => Promise<T> {
  let done: Promise<T> | undefined;
  return () => {
    done ??= work();
    return done;
  };
}
