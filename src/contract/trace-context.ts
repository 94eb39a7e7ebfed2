/** A span of a distributed trace (W3C Trace Context). */
export type TraceContext = { readonly traceId: string; readonly spanId: string; readonly sampled: boolean };

/** The request that something comes from, wherever and whenever it is done. */
export type Origin = { readonly requestId: string; readonly trace: TraceContext };

const TRACEPARENT = /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/** Parses a `traceparent` (section 3.2); undefined when it is missing or not valid. Later versions may have more fields. */
export function readTraceparent(header: unknown): TraceContext | undefined {
  const [, version, traceId, spanId, flags, more] = TRACEPARENT.exec(typeof header === 'string' ? header : '') ?? [];
  if (traceId === undefined || spanId === undefined || (version === '00' && more !== undefined)) return undefined;
  return { traceId, spanId, sampled: (Number.parseInt(flags ?? '', 16) & 1) === 1 };
}

export function writeTraceparent({ traceId, spanId, sampled }: TraceContext): string {
  return `00-${traceId}-${spanId}-${sampled ? '01' : '00'}`;
}

/** A new span in the trace of its parent, or in a trace of its own, which is not sampled since nothing here records it. */
export function newSpan(random: { requestId(): string }, parent: TraceContext | undefined): TraceContext {
  const spanId = random.requestId().replaceAll('-', '').slice(16);
  if (parent !== undefined) return { ...parent, spanId };
  return { traceId: random.requestId().replaceAll('-', ''), spanId, sampled: false };
}

/** The ids of a span by the names that log lines have for them. */
export const traceFields = ({ traceId, spanId }: TraceContext) => ({ trace_id: traceId, span_id: spanId });
