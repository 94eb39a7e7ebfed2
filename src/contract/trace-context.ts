/** Identifies a span of a distributed trace (W3C Trace Context). */
export type TraceContext = { readonly traceId: string; readonly spanId: string; readonly sampled: boolean };

/** Identifies the request that caused an action, including one that runs later or in another process. */
export type Origin = { readonly requestId: string; readonly trace: TraceContext };

const TRACEPARENT = /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/** Parses a `traceparent` (section 3.2). Returns undefined if absent or invalid. Later versions may add fields. */
export function readTraceparent(header: unknown): TraceContext | undefined {
  const [, version, traceId, spanId, flags, more] = TRACEPARENT.exec(typeof header === 'string' ? header : '') ?? [];
  if (traceId === undefined || spanId === undefined || (version === '00' && more !== undefined)) return undefined;
  return { traceId, spanId, sampled: (Number.parseInt(flags ?? '', 16) & 1) === 1 };
}

export function writeTraceparent({ traceId, spanId, sampled }: TraceContext): string {
  return `00-${traceId}-${spanId}-${sampled ? '01' : '00'}`;
}

/** Creates a span in the parent's trace, or in a new one. A new trace is not sampled: this service records no spans. */
export function newSpan(random: { requestId(): string }, parent: TraceContext | undefined): TraceContext {
  const spanId = random.requestId().replaceAll('-', '').slice(16);
  if (parent !== undefined) return { ...parent, spanId };
  return { traceId: random.requestId().replaceAll('-', ''), spanId, sampled: false };
}

/** Returns the ids of a span under the field names used in the log. */
export const traceFields = ({ traceId, spanId }: TraceContext) => ({ trace_id: traceId, span_id: spanId });
