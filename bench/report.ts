import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { drawChart } from './chart';
import type { Measured } from './measure';
import { CONNECTIONS } from './processes';

export type Report = {
  date: string;
  machine: string;
  rounds: number;
  contenders: readonly { name: string; what: string }[];
  results: Record<string, Measured>;
  /** Medians of the rounds' ratios of pairings per second, by peer. */
  ratios: Record<string, number>;
  /** At half of what the service can do, where the peer can do that at all. */
  half: Record<string, Measured>;
  refusals: Record<string, Measured>;
};

const n = (value: number | undefined, width: number, digits = 0) =>
  (value ?? Number.NaN).toFixed(digits).padStart(width);
const costOf = (measured: Measured | undefined) => (measured?.serviceUs ?? 0) + (measured?.postgresUs ?? 0);
const HEAD = 'per second   p50 ms   p99 ms   CPU µs: service + PostgreSQL';
const line = (name: string, r: Measured | undefined) =>
  `${name.padEnd(14)} ${n(r?.rps, 12)} ${n(r?.p50, 8, 1)} ${n(r?.p99, 8, 1)} ${n(r?.serviceUs, 16)} ${n(r?.postgresUs, 12)}`;

function inWords({ date, machine, rounds, contenders, results, ratios, half, refusals }: Report): string {
  const rate = Math.round((results.service?.rps ?? 0) / 2);
  return [
    `${date}, ${machine}, ${CONNECTIONS} connections, medians of ${rounds} interleaved rounds`,
    '',
    `pairings         ${HEAD}`,
    ...contenders.map(({ name }) => line(name, results[name])),
    '',
    ...Object.entries(ratios).map(([peer, ratio]) => `${`service / ${peer}`.padEnd(24)} ${n(ratio, 5, 2)}`),
    '',
    `${`at ${rate}/s`.padEnd(16)} ${HEAD}`,
    ...Object.entries(half).map(([name, measured]) => line(name, measured)),
    `p99 service / pgbench-lean ${n((half.service?.p99 ?? 0) / (half['pgbench-lean']?.p99 ?? 1), 5, 2)}`,
    '',
    `refusals         ${HEAD}   of a pairing`,
    ...Object.entries(refusals).map(
      ([status, cost]) => `${line(status, cost)} ${n(costOf(cost) / costOf(results.service), 13, 2)}`,
    ),
    '',
  ].join('\n');
}

/** Prints the report, and keeps it as text, JSON and chart. */
export function write(report: Report): void {
  const text = inWords(report);
  process.stdout.write(text);
  const out = join(__dirname, '../../bench/results');
  if (!existsSync(out)) return;
  writeFileSync(join(out, 'latest.txt'), text);
  writeFileSync(join(out, 'latest.json'), `${JSON.stringify(report, null, 2)}\n`);
  const bars = report.contenders.map(({ name, what }) => ({ name, what, value: report.results[name]?.rps ?? 0 }));
  writeFileSync(join(out, 'latest.svg'), drawChart(report.date, bars));
}
