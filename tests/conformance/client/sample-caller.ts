import { readFileSync } from 'node:fs';
import ts from 'typescript';
import { type Step, steps } from '../../../src/conformance/client/steps';
import { projectFile } from '../../../src/contract/document';

export const CALLER = projectFile('docs/examples/caller.ts');

export type Caller = {
  pair(code: string, station: object): Promise<string>;
  unpair(uid: string): Promise<string>;
  stationOf(uid: string): object;
};

/** The sample caller of the guide, changed by edits, each of which must find its place. */
export function loadCaller(target: { url: string; token: string }, edits: readonly [string, string][] = []): Caller {
  let source = readFileSync(CALLER, 'utf8');
  for (const [before, after] of edits) {
    if (source.split(before).length !== 2) throw new Error(`the caller does not have exactly once: ${before}`);
    source = source.replace(before, () => after);
  }
  const { outputText } = ts.transpileModule(source, {
    compilerOptions: { module: ts.ModuleKind.CommonJS, target: ts.ScriptTarget.ES2022 },
  });
  const exports: Partial<Caller> = {};
  const process = { argv: [], env: { SCSP_URL: target.url, SCSP_TOKEN: target.token } };
  new Function('exports', 'process', outputText)(exports, process);
  return exports as Caller;
}

/** Does a step as a developer would: what could not be paired is not unpaired. */
export async function doStep(caller: Caller, { uid, code, unpair }: Step): Promise<void> {
  const paired = code === undefined || (await caller.pair(code, caller.stationOf(uid))) === 'paired';
  if (unpair && paired) await caller.unpair(uid);
}

/** Does all steps at once. A step that fails is what a customer would see as an error. */
export const doAllSteps = (caller: Caller) =>
  Promise.all(steps.map((step) => doStep(caller, step).catch(() => undefined)));
