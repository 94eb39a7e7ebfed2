import type { Response } from 'express';
import type { SandboxHandlers, Schemas } from '../../contract/document';
import type { ValidateJson } from '../../contract/validate-json';
import { unlessRefused } from '../../http/client-disconnect';
import { unpairByCpo } from '../../pairing/unpair';
import { Problem } from '../../problems';
import { html } from '../../site/html';
import { sendForms, serverOf } from '../../site/send';
import { scopeOf } from '../../tokens/caller';
import type { TokenRegistry } from '../../tokens/registry';
import { type RunContext, startRun } from '../certification/start-run';
import type { SandboxVerbs } from '../verbs';
import { readCodes } from './codes';
import { requireOwnForm, requireSameOrigin } from './own-form';
import { cpoPage, noticeFor } from './page';
import { readView } from './read';
import { openSession, sessionOf, signIn, signOut, tokenIn } from './session';
import { signedOutPage } from './signed-out';
import { tokenPage } from './token-page';

type PageHandlers = Pick<SandboxHandlers, Extract<keyof SandboxHandlers, 'sandboxPage' | `sandbox${string}Form`>>;

const EXPIRED = html`Your token is not valid any more: it has expired, or the CPO was removed. Create another CPO.`;

/** The pages of a sandbox deployment and their forms. Each form answers with a redirect, unless it shows a secret. */
export function sandboxPageHandlers(
  ctx: RunContext,
  registry: TokenRegistry,
  verbs: SandboxVerbs,
  validate: ValidateJson,
): PageHandlers {
  const { config } = ctx;
  return {
    async sandboxPage(req, res) {
      const { done, outcome } = req.query;
      const notice = done && noticeFor(done, outcome);
      const session = sessionOf(res);
      if (session !== undefined)
        return sendForms(req, res, cpoPage(await readView(ctx, session, serverOf(config, req)), notice));
      const hasExpired = tokenIn(config, req) !== undefined;
      if (hasExpired) signOut(config, res);
      sendForms(req, res, signedOutPage(hasExpired ? EXPIRED : notice));
    },

    async sandboxSignUpForm(req, res) {
      requireSameOrigin(ctx, req);
      const created = await verbs.signUp(req.body.name, res);
      signIn(config, res, created.token, created.expiresAt);
      res.status(201);
      sendForms(req, res, tokenPage(created, '/sandbox/cpos', serverOf(config, req), true));
    },

    async sandboxSignInForm(req, res) {
      requireSameOrigin(ctx, req);
      const session = await openSession(registry, req.body.token.trim());
      if (session === undefined) throw notAToken();
      signIn(config, res, session.token, session.caller.expiresAt);
      seeOther(res, 'signed-in');
    },

    sandboxSignOutForm(req, res) {
      requireOwnForm(ctx, req, res, req.body.form_token);
      signOut(config, res);
      seeOther(res, 'signed-out');
    },

    sandboxShowTokenForm(req, res) {
      const { token, cpo, caller } = requireOwnForm(ctx, req, res, req.body.form_token);
      const shown = { name: cpo.name, token, expiresAt: caller.expiresAt };
      sendForms(req, res, tokenPage(shown, '/sandbox/token', serverOf(config, req), false));
    },

    async sandboxUnpairForm(req, res) {
      const { cpo } = requireOwnForm(ctx, req, res, req.body.form_token);
      await unpairByCpo(ctx, cpo.id, req.body.uid, res.locals.origin, scopeOf(res));
      seeOther(res, 'unpaired', '#stations');
    },

    async sandboxEndpointForm(req, res) {
      requireOwnForm(ctx, req, res, req.body.form_token);
      await verbs.setEndpoint(req.body, res);
      seeOther(res, 'endpoint-set', '#endpoint');
    },

    async sandboxRedemptionForm(req, res) {
      const { body } = req;
      requireOwnForm(ctx, req, res, body.form_token);
      const { outcome, station } = await verbs.redeem(body.code, body.payload_protocol, res);
      // The redirect says nothing of the size of what was stored, which has a limit.
      res.locals.storedBytes = JSON.stringify(station ?? {}).length;
      seeOther(res, 'redeemed', '#calls', outcome);
    },

    async sandboxTestUnpairForm(req, res) {
      requireOwnForm(ctx, req, res, req.body.form_token);
      await verbs.unpair(req.body.uid, res);
      seeOther(res, 'test-unpaired', '#calls');
    },

    async sandboxRunForm(req, res) {
      const { cpo } = requireOwnForm(ctx, req, res, req.body.form_token);
      const codes = readCodes(validate, req.body.codes ?? '');
      await startRun(ctx, cpo.id, { codes }, res.locals.origin).catch(unlessRefused(res));
      seeOther(res, 'run-started', '#certification');
    },
  };
}

/** Redirects from a form to the page, which says what was done. Relative: a proxy may serve the pages under a prefix. */
function seeOther(res: Response, done: Schemas['SandboxDone'], fragment = '', outcome?: string): void {
  const query = new URLSearchParams({ done, ...(outcome !== undefined && { outcome }) });
  res.redirect(303, `../sandbox?${query}${fragment}`);
}

function notAToken(): Problem {
  return new Problem('invalid-request', {
    message: 'This is not the token of a CPO, or it is not valid any more.',
    errors: [{ pointer: '/token', message: 'must be a valid token of a CPO, which begins with scsp_cpo_' }],
  });
}
