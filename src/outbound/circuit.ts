import { Problem } from '../problems';

const FAILURES_TO_OPEN = 10;
const SUBJECTS_TO_OPEN = 3;
const OPEN_MS = 30_000;
/** An open circuit without a trial call for so long is forgotten: another replica may know that the target answers again. */
const FORGET_MS = 600_000;

/**
 * `failed`: 5xx, a time-out or no connection. `unknown`: the call was not sent or was aborted, so that it does not
 * count.
 */
export type CallOutcome = 'answered' | 'failed' | 'unknown';

/** The state of a target whose last call failed. */
type Circuit = {
  failures: number;
  /** The subjects of the failed calls, at most SUBJECTS_TO_OPEN. */
  readonly subjects: Set<string>;
  /** When it opened, or its last trial call failed. */
  openedAt: number | undefined;
  openSince: number | undefined;
  /** Whether the trial call, which closes the circuit or keeps it open, is in flight. */
  trial: boolean;
};

type CircuitMetrics = { circuitOpened(target: string): void; circuitClosed(target: string): void };

/**
 * The circuit breakers of this process, one for each target: a CPO or a webhook endpoint. A circuit opens after 10 consecutive
 * failures of at least 3 different subjects, so that no single user (or event) can open it for others. After 30 s one trial call
 * is let through. A target that responds has no entry, so that memory is bounded by the number of failing targets.
 */
export class Circuits {
  readonly #circuits = new Map<string, Circuit>();

  constructor(
    readonly metrics: CircuitMetrics,
    readonly now: () => number = () => performance.now(),
  ) {}

  /** Returns the ids of the targets whose circuit is open, which must not be called. */
  open(): string[] {
    return [...this.#circuits].filter(([, circuit]) => this.#waitMs(circuit) > 0).map(([target]) => target);
  }

  /**
   * Returns the targets whose circuit has opened and not closed again, also while trial calls are let through, with its age in ms.
   * Closes those without a trial call for 10 minutes.
   */
  ages(): { readonly target: string; readonly ms: number }[] {
    for (const [target, { openedAt }] of this.#circuits)
      if (openedAt !== undefined && this.now() - openedAt > FORGET_MS) this.#close(target);
    return [...this.#circuits].flatMap(([target, { openSince }]) =>
      openSince === undefined ? [] : [{ target, ms: this.now() - openSince }],
    );
  }

  /**
   * Must be called before each call.
   * @param subject identifies the user or event that the call is about
   * @returns a function that must be called with the outcome
   * @throws Problem `unavailable` when the circuit is open
   */
  enter(target: string, subject: string): (outcome: CallOutcome) => void {
    const circuit = this.#circuits.get(target);
    const waitMs = circuit === undefined ? 0 : this.#waitMs(circuit);
    if (waitMs > 0)
      throw new Problem('unavailable', {
        message: 'The CPO is not responding at the moment, please try again later.',
        headers: { 'Retry-After': String(Math.ceil(waitMs / 1_000)) },
      });
    const trial = circuit?.openedAt === undefined ? undefined : circuit;
    if (trial) trial.trial = true;
    return (outcome) => {
      if (trial) trial.trial = false;
      if (outcome === 'answered') this.#close(target);
      if (outcome === 'failed') this.#countFailure(target, subject, trial);
    };
  }

  /** Returns the time in ms until the circuit lets a call through: at least 1 s while a trial call is in flight. */
  #waitMs({ openedAt, trial }: Circuit): number {
    if (openedAt === undefined) return 0;
    return Math.max(trial ? 1_000 : 0, openedAt + OPEN_MS - this.now());
  }

  #close(target: string): void {
    const open = this.#circuits.get(target)?.openedAt !== undefined;
    this.#circuits.delete(target);
    if (open) this.metrics.circuitClosed(target);
  }

  #countFailure(target: string, subject: string, trial: Circuit | undefined): void {
    const circuit = this.#circuits.get(target) ?? {
      failures: 0,
      subjects: new Set(),
      openedAt: undefined,
      openSince: undefined,
      trial: false,
    };
    this.#circuits.set(target, circuit);
    if (circuit.openedAt !== undefined) {
      // Other calls that were in flight when the circuit opened must not keep it open longer.
      if (circuit === trial) circuit.openedAt = this.now();
      return;
    }
    circuit.failures += 1;
    if (circuit.subjects.size < SUBJECTS_TO_OPEN) circuit.subjects.add(subject);
    if (circuit.failures < FAILURES_TO_OPEN || circuit.subjects.size < SUBJECTS_TO_OPEN) return;
    circuit.openedAt = this.now();
    circuit.openSince = circuit.openedAt;
    this.metrics.circuitOpened(target);
  }
}
