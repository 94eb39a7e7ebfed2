declare namespace Express {
  /** What express-openapi-validator hangs on a request that it has found in openapi.yaml. */
  interface Request {
    openapi?: {
      pathParams: Record<string, string>;
      schema: { operationId: string; requestBody?: { content?: unknown; required?: boolean } };
    };
  }

  interface Locals {
    /** Of an authenticated request: `http/auth` puts it there, `stillAllowed` calls it. */
    stillAllowed?: () => Promise<void>;
    /** What the request was about, for its log line: set by its handler. */
    subject?: { cpo_id?: string | undefined; pairing_id?: string | undefined; code_id?: string | undefined };
  }
}
