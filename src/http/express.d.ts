declare namespace Express {
  /** What express-openapi-validator hangs on a request that it has found in openapi.yaml. */
  interface Request {
    openapi?: {
      pathParams: Record<string, string>;
      schema: { operationId: string; requestBody?: { content?: unknown } };
    };
  }

  interface Locals {
    /** Of an authenticated request: `http/auth` puts it there, `stillAllowed` calls it. */
    stillAllowed?: () => Promise<void>;
  }
}
