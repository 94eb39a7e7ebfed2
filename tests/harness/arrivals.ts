/** What has arrived at a server of a test, and a wait for so much of it. */
export function arrivals<T>() {
  const received: T[] = [];
  const waiting = new Set<() => void>();
  return {
    received,
    add(one: T) {
      received.push(one);
      for (const check of waiting) check();
    },
    /** Resolves when so many have come. */
    count: (count: number) =>
      new Promise<void>((resolve) => {
        const check = () => {
          if (received.length < count) return;
          waiting.delete(check);
          resolve();
        };
        waiting.add(check);
        check();
      }),
  };
}
