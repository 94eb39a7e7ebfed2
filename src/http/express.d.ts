/** What express-openapi-validator hangs on a request that it has found in openapi.yaml. */
declare namespace Express {
  interface Request {
    openapi?: {
      pathParams: Record<string, string>;
      schema: { operationId: string; requestBody?: { content?: unknown } };
    };
  }
}
