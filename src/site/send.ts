import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Response } from 'express';
import helmet from 'helmet';
import type { Config } from '../config';

/** A page that is made once; its entity tag lets a browser keep it until it changes. */
export type Page = { readonly text: string; readonly etag: string };

/** A request, whichever its operation is. */
export type AnyRequest = Pick<IncomingMessage, keyof IncomingMessage>;

/** Returns the address of this server in commands: without a public one, that of the machine which it runs on. */
export function serverOf({ publicUrl }: Config, { socket }: Pick<IncomingMessage, 'socket'>): string {
  return publicUrl ?? `http://localhost:${socket.localPort}`;
}

/** For the pages alone; the answers of the API are not rendered by anyone. */
const protection = (formAction: "'none'" | "'self'") => ({
  contentSecurityPolicy: {
    useDefaults: false,
    directives: {
      defaultSrc: ["'none'"],
      scriptSrc: ["'self'"],
      styleSrc: ["'self'"],
      imgSrc: ["'self'", 'data:'],
      connectSrc: ["'self'"],
      baseUri: ["'none'"],
      formAction: [formAction],
      frameAncestors: ["'none'"],
    },
  },
  xFrameOptions: { action: 'deny' as const },
  // Whether a whole domain is HTTPS only is not a page's to decide.
  strictTransportSecurity: false as const,
});
const protect = helmet(protection("'none'"));
/** With the default `no-referrer`, browsers would send `Origin: null` with the forms. */
const protectForms = helmet({ ...protection("'self'"), referrerPolicy: { policy: 'same-origin' } });

export function pageOf(text: string): Page {
  return { text, etag: `"${createHash('sha256').update(text).digest('base64url').slice(0, 22)}"` };
}

/** Sends a page, or a 304 if the browser has it. */
export function sendPage(req: AnyRequest, res: Response, { text, etag }: Page): void {
  res.set({ 'Cache-Control': 'no-cache', ETag: etag });
  sendHtml(req, res, text);
}

/** Sends HTML with the status that the response has. */
export function sendHtml(req: AnyRequest, res: Response, text: string): void {
  protect(req, res, () => res.type('html').send(text));
}

/** Sends HTML that has forms, which may be sent to this service only. */
export function sendForms(req: AnyRequest, res: Response, text: string): void {
  protectForms(req, res, () => res.type('html').send(text));
}
