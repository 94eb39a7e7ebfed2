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

/** Returns what is stored of an origin, so that what happens later belongs to its trace; null if no request is the origin. */
export const storedTrace = (origin: Origin | undefined) =>
  origin === undefined ? null : writeTraceparent(origin.trace);

/** Creates a span in the parent's trace, or in a new one. A new trace is not sampled: this service records no spans. */
export function newSpan(random: { requestId(): string }, parent: TraceContext | undefined): TraceContext {
  const spanId = random.requestId().replaceAll('-', '').slice(16);
  if (parent !== undefined) return { ...parent, spanId };
  return { traceId: random.requestId().replaceAll('-', ''), spanId, sampled: false };
}

/** Returns the ids of a span under the field names used in the log. */
export const traceFields = ({ traceId, spanId }: TraceContext) => ({ trace_id: traceId, span_id: spanId });

/** Returns the ids of a request, or of what it caused, under the field names used in the log. */
export const originFields = ({ requestId, trace }: Origin) => ({ request_id: requestId, ...traceFields(trace) });

/** Returns no fields for a command, and for what the service does by itself, such as expiring codes. */
export const optionalOriginFields = (origin: Origin | undefined) => origin && originFields(origin);
