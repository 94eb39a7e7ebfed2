import type { Context } from '../context';
import type { Contract } from '../contract/document';
import { jsonValidator } from '../contract/validate-json';
import type { CpoClient } from '../cpos/client';
import type { SandboxSteps } from '../http/app';
import type { SandboxParts } from '../http/operations';
import type { TokenRegistry } from '../tokens/registry';
import { certificationHandlers } from './certification/handlers';
import { RequestObserver } from './certification/observer';
import { Runner } from './certification/runner';
import { CERTIFICATION, type CertificationSettings } from './certification/settings';
import { sandboxHandlers } from './handlers';
import { sandboxPageHandlers } from './page/http';
import { findSession } from './page/session';
import { startRemoval } from './remove-unused';
import { isReserved, type TestTimes } from './test-codes';
import { createTestPair } from './test-pair';
import { createVerbs } from './verbs';
import { EndpointVerifier } from './verify-endpoint';
import { limitWrites } from './write-budget';

/** What makes a service a sandbox deployment (contract, section 10). */
export type SandboxDeployment = SandboxParts &
  Required<SandboxSteps> & {
    /** Starts what runs beside the requests. */
    start(): void;
    stop(): Promise<void>;
  };

/** What tests replace. */
export type SandboxOverrides = {
  readonly testCodes?: Partial<TestTimes>;
  readonly certification?: Partial<CertificationSettings>;
};

type Parts = {
  readonly contract: Contract;
  readonly registry: TokenRegistry;
  readonly overrides: SandboxOverrides;
};

export function createSandbox(
  ctx: Context,
  client: CpoClient,
  { contract, registry, overrides }: Parts,
): SandboxDeployment {
  const { document } = contract;
  const verifier = new EndpointVerifier(ctx.config.callsLoopback, `scsp-pairing/${document.info.version}`);
  const runner = new Runner(ctx, contract, { ...CERTIFICATION, ...overrides.certification });
  const validate = jsonValidator(document);
  const runContext = { ...ctx, verifier, runner };
  const observer = new RequestObserver(ctx, registry, validate);
  const verbs = createVerbs(ctx, client, verifier);
  let removal: { stop(): Promise<void> } | undefined;
  return {
    pair: createTestPair(ctx, overrides.testCodes),
    isReserved,
    findSession: findSession(ctx.config, registry),
    limitWrites: limitWrites(),
    observe: observer.watch,
    handlers: {
      ...sandboxHandlers(ctx, verbs),
      ...certificationHandlers(runContext),
      ...sandboxPageHandlers(runContext, registry, verbs, validate),
    },
    start() {
      removal = startRemoval(ctx);
    },
    async stop() {
      await runner.stop();
      await observer.stop();
      await removal?.stop();
      await verifier.close();
    },
  };
}
