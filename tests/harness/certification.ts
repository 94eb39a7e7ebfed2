import { LIMITS } from '../../src/conformance/cpo/caller';
import { CERTIFICATION, type CertificationSettings } from '../../src/sandbox/certification/settings';
import type { SandboxCpoOptions } from '../../src/sandbox/cpo';
import { sandboxCodes } from '../../src/sandbox/scenarios';
import { quietSandboxCpo, TOKEN } from './a-sandbox-cpo';
import { endLater } from './clean-up';
import type { Answer, Harness, TestCpo } from './harness';
import { signUp } from './self-service';

/** Runs that end soon: tests are not about the rate, but one is. */
export const FAST: Partial<CertificationSettings> = {
  rate: 1_000,
  renewMs: 20,
  limits: { ...LIMITS, deadlineMs: 2_000 },
};

export { CERTIFICATION, sandboxCodes };

export const setEndpoint = (service: Harness, cpo: TestCpo, base_url: string, token = TOKEN) => {
  service.secrets.add(token);
  return service.request('PUT', '/v1/scsp/me/endpoint', { token: cpo.token, body: { base_url, token } });
};

/** A CPO whose endpoint is a sandbox CPO, or one of its mutants. */
export async function withSandboxCpo(service: Harness, options: SandboxCpoOptions = {}) {
  const backend = await quietSandboxCpo(options);
  endLater(() => backend.stop());
  const cpo = await signUp(service);
  await setEndpoint(service, cpo, backend.url);
  return { ...cpo, backend };
}

export const startRun = (service: Harness, cpo: TestCpo, body: object = {}): Promise<Answer> =>
  service.request('POST', '/v1/scsp/certification/runs', { token: cpo.token, body });

export const followRun = (service: Harness, cpo: TestCpo, id: string, wait = 0): Promise<Answer> =>
  service.request('GET', `/v1/scsp/certification/runs/${id}?wait=${wait}`, { token: cpo.token });

/** Starts a run and returns what it is when it has ended. */
export async function runToEnd(service: Harness, cpo: TestCpo, body: object = {}): Promise<any> {
  const started = await startRun(service, cpo, body);
  if (started.status !== 202) throw new Error(`no run: ${JSON.stringify(started.body)}`);
  let run = started.body;
  while (run.status === 'running') run = (await followRun(service, cpo, run.id, 30)).body;
  return run;
}

export async function itemsOf(service: Harness, cpo: TestCpo, direction?: 'cpo' | 'client'): Promise<any[]> {
  const { body } = await service.request('GET', '/v1/scsp/certification', { token: cpo.token });
  return body.items.filter((item: any) => direction === undefined || item.direction === direction);
}
