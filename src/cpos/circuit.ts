import { Problem } from '../problems';

const FAILURES_TO_OPEN = 10;
const USERS_TO_OPEN = 3;
const OPEN_MS = 30_000;

/** A call failed when the CPO answered 5xx, not in time or not at all. One that was not sent, or was cut, says nothing. */
export type CallOutcome = 'answered' | 'failed' | 'unknown';

/** A CPO whose last call failed. */
type Circuit = {
  failures: number;
  /** Whose calls failed, up to as many as are needed. */
  readonly users: Set<string>;
  openedAt: number | undefined;
  /** Whether the one call that decides is in flight. */
  trial: boolean;
};

type CircuitMetrics = { circuitOpened(cpoId: string): void; circuitClosed(cpoId: string): void };

/**
 * The circuits of this process, one for each CPO. A circuit opens after 10 failures in a row of at least 3 different
 * users, so that nobody closes a CPO for others; 30 s later one call is let through and decides. A CPO that answers has
 * no entry, so that memory is bounded by the number of CPOs.
 */
export class Circuits {
  readonly #circuits = new Map<string, Circuit>();

  constructor(
    readonly metrics: CircuitMetrics,
    readonly now: () => number = () => performance.now(),
  ) {}

  /** Returns the ids of the CPOs whose circuit is open: they must not be called now. */
  open(): string[] {
    return [...this.#circuits].filter(([, circuit]) => this.#waitMs(circuit) > 0).map(([cpoId]) => cpoId);
  }

  /**
   * To be asked before each call of a CPO.
   * @returns what is to be told how the call went
   * @throws Problem `unavailable` when the circuit is open
   */
  enter(cpoId: string, user: string): (outcome: CallOutcome) => void {
    const circuit = this.#circuits.get(cpoId);
    const waitMs = circuit === undefined ? 0 : this.#waitMs(circuit);
    if (waitMs > 0)
      throw new Problem('unavailable', {
        message: 'The CPO does not answer at the moment, please try again later.',
        headers: { 'Retry-After': String(Math.ceil(waitMs / 1_000)) },
      });
    const trial = circuit?.openedAt === undefined ? undefined : circuit;
    if (trial) trial.trial = true;
    return (outcome) => {
      if (trial) trial.trial = false;
      if (outcome === 'answered') this.#close(cpoId);
      if (outcome === 'failed') this.#countFailure(cpoId, user, trial);
    };
  }

  /** How long until the circuit lets a call through; while a trial is in flight nobody knows, so it is a second. */
  #waitMs({ openedAt, trial }: Circuit): number {
    if (openedAt === undefined) return 0;
    return Math.max(trial ? 1_000 : 0, openedAt + OPEN_MS - this.now());
  }

  #close(cpoId: string): void {
    const open = this.#circuits.get(cpoId)?.openedAt !== undefined;
    this.#circuits.delete(cpoId);
    if (open) this.metrics.circuitClosed(cpoId);
  }

  #countFailure(cpoId: string, user: string, trial: Circuit | undefined): void {
    const circuit = this.#circuits.get(cpoId) ?? { failures: 0, users: new Set(), openedAt: undefined, trial: false };
    this.#circuits.set(cpoId, circuit);
    if (circuit.openedAt !== undefined) {
      // Calls that were in flight when it opened do not keep it open longer.
      if (circuit === trial) circuit.openedAt = this.now();
      return;
    }
    circuit.failures += 1;
    if (circuit.users.size < USERS_TO_OPEN) circuit.users.add(user);
    if (circuit.failures < FAILURES_TO_OPEN || circuit.users.size < USERS_TO_OPEN) return;
    circuit.openedAt = this.now();
    this.metrics.circuitOpened(cpoId);
  }
}
