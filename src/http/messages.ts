import { IncomingMessage, ServerResponse } from 'node:http';
import type { Express } from 'express';

/**
 * Requests and responses that are an app's own from the start, for `createServer`. Express changes the prototypes of
 * those that are not, after which V8 has a hidden class for each of them, and finds nothing where it was the last time.
 */
export function messagesOf(app: Express) {
  class Request extends IncomingMessage {}
  class Response extends ServerResponse {}
  Object.setPrototypeOf(Request.prototype, app.request);
  Object.setPrototypeOf(Response.prototype, app.response);
  Object.assign(app, { request: Request.prototype, response: Response.prototype });
  return { IncomingMessage: Request, ServerResponse: Response };
}

/** How often a request has a header. Node's `headersDistinct` would copy them all to tell. */
export function timesSent({ rawHeaders }: IncomingMessage, name: string): number {
  return rawHeaders.filter((header, i) => i % 2 === 0 && header.length === name.length && header.toLowerCase() === name)
    .length;
}
