/** A bound on memory. Endpoints that failed longest ago are forgotten first. */
const MAX_ENDPOINTS = 1_000;

/** Keeps since when an endpoint that has failed in this process answers again, by `performance.now()`. */
export class Answering {
  /** Undefined: it has not answered since its last failed attempt. */
  readonly #since = new Map<string, number | undefined>();

  failed(endpointId: string): void {
    this.#since.delete(endpointId);
    this.#since.set(endpointId, undefined);
    const [oldest] = this.#since.keys();
    if (oldest !== undefined && this.#since.size > MAX_ENDPOINTS) this.#since.delete(oldest);
  }

  /** Records that an endpoint has just accepted an event. Returns since when it answers: `-Infinity` if it has not failed. */
  accepted(endpointId: string): number {
    if (!this.#since.has(endpointId)) return Number.NEGATIVE_INFINITY;
    const since = this.#since.get(endpointId) ?? performance.now();
    this.#since.set(endpointId, since);
    return since;
  }
}
