import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Measured } from './measure';

export type MixReport = {
  name: string;
  connections: number;
  /** Pairings, by contender. */
  results: Record<string, Measured>;
  /** Medians of the rounds' ratios of the service to each peer. */
  ratios: Record<string, { rps: number; p50: number; postgresUs: number }>;
  /** What else the service was asked: each refusal by its status, and a code issued. */
  others: Record<string, Measured>;
};

export type Report = {
  date: string;
  node: string;
  machine: string;
  rounds: number;
  contenders: readonly { name: string; what: string }[];
  mixes: readonly MixReport[];
};

const n = (value: number | undefined, width: number, digits = 0) =>
  (value ?? Number.NaN).toFixed(digits).padStart(width);
const costOf = (measured: Measured | undefined) => (measured?.serviceUs ?? 0) + (measured?.postgresUs ?? 0);
const HEAD = 'per second   p50 ms   p99 ms   CPU µs: service + PostgreSQL';
const line = (name: string, r: Measured | undefined) =>
  `${name.padEnd(14)} ${n(r?.rps, 12)} ${n(r?.p50, 8, 1)} ${n(r?.p99, 8, 1)} ${n(r?.serviceUs, 16)} ${n(r?.postgresUs, 12)}`;

function mixInWords({ name, results, ratios, others }: MixReport): string[] {
  return [
    `${name}`,
    `${'pairings'.padEnd(16)} ${HEAD}`,
    ...Object.entries(results).map(([contender, measured]) => line(contender, measured)),
    ...Object.entries(ratios).map(
      ([peer, { rps, p50, postgresUs }]) =>
        `${`service / ${peer}`.padEnd(24)} ${n(rps, 5, 2)} in pairings, ${n(p50, 5, 2)} in p50, ${n(postgresUs, 5, 2)} in CPU of PostgreSQL`,
    ),
    `${''.padEnd(16)} ${HEAD}   of a pairing`,
    ...Object.entries(others).map(
      ([what, cost]) => `${line(what, cost)} ${n(costOf(cost) / costOf(results.service), 13, 2)}`,
    ),
    '',
  ];
}

function inWords({ date, node, machine, rounds, mixes }: Report): string {
  return [
    `${date}, Node ${node}, ${machine}, medians of ${rounds} interleaved rounds`,
    '',
    ...mixes.flatMap(mixInWords),
  ].join('\n');
}

/** Prints the report, and keeps it as text, JSON and chart. */
export function write(report: Report): void {
  const text = inWords(report);
  process.stdout.write(text);
  const out = join(__dirname, '../../bench/results');
  if (!existsSync(out)) return;
  const name = `node-${/^v(\d+)/.exec(report.node)?.[1]}`;
  writeFileSync(join(out, `${name}.txt`), text);
  writeFileSync(join(out, `${name}.json`), `${JSON.stringify(report, null, 2)}\n`);
}
