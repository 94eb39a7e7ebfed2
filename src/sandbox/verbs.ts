import type { Response } from 'express';
import type { Context } from '../context';
import type { Origin } from '../contract/trace-context';
import type { CpoClient } from '../cpos/client';
import { stillAllowed, unlessRefused } from '../http/client-disconnect';
import type { PayloadProtocol } from '../protocols';
import { callerOf, cpoOf, scopeOf } from '../tokens/caller';
import { setEndpoint } from './endpoint';
import { OneAtATime } from './limits';
import { createSignUp, signUpOrigin } from './sign-up';
import { redeemForTest } from './test-redemption';
import { unpairForTest } from './test-unpair';
import type { EndpointVerifier } from './verify-endpoint';

export type SandboxVerbs = ReturnType<typeof createVerbs>;

/** Creates what a CPO's developer can do, with its limits, for the API and for the page. */
export function createVerbs(ctx: Context, client: CpoClient, verifier: EndpointVerifier) {
  const signUp = createSignUp(ctx);
  const endpoints = new OneAtATime();
  const tests = new OneAtATime();
  const ownerOf = (res: Response) => ({ cpoId: cpoOf(res).id, uidScope: scopeOf(res), origin: originOf(res) });
  return {
    signUp: (name: string, res: Response) =>
      signUp(name, signUpOrigin(res.req.ip, res.req.socket.remoteAddress), originOf(res)),

    /** Returns the base URL as stored. */
    setEndpoint(endpoint: { base_url: string; token: string }, res: Response) {
      const cpo = cpoOf(res);
      const audited = { ...ctx, actor: `cpo token ${callerOf(res).tokenId}` };
      return endpoints
        .run(cpo.id, () => setEndpoint(audited, verifier, cpo, endpoint, originOf(res)))
        .catch(unlessRefused(res));
    },

    redeem(code: string, payloadProtocol: PayloadProtocol, res: Response) {
      const request = { ...ownerOf(res), payloadProtocol, code, stillAllowed: () => stillAllowed(res) };
      return tests.run(request.cpoId, () => redeemForTest(ctx, client, request)).catch(unlessRefused(res));
    },

    unpair(uid: string, res: Response) {
      const request = { ...ownerOf(res), uid };
      return tests.run(request.cpoId, () => unpairForTest(ctx, request));
    },
  };
}

const originOf = (res: Response): Origin => res.locals.origin;
