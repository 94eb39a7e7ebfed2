import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CONNECTIONS } from '../processes';
import { drawGrowth } from './chart';
import type { Cost } from './operations';
import type { Partitions } from './partitions';
import { indexBytes, type TableSize } from './sizes';
import type { Removal, Vacuuming } from './upkeep';

export type Report = {
  date: string;
  machine: string;
  rounds: number;
  settings: Readonly<Record<string, string>>;
  counts: readonly number[];
  /** By operation, then in the order of `counts`. */
  results: Record<string, (Cost & { ratio: number })[]>;
  sizes: Record<string, TableSize[]>;
  vacuuming: Vacuuming;
  removal: Removal;
  partitions: Partitions;
};

const n = (value: number, width: number, digits = 0) => value.toFixed(digits).padStart(width);
const MB = 1_048_576;

/** Prints the report, and writes it as text, JSON and a chart where the results lie. */
export function write(report: Report): void {
  const text = [
    `${report.date}, ${report.machine}, ${CONNECTIONS} connections, medians of ${report.rounds} interleaved rounds`,
    `PostgreSQL: ${Object.entries(report.settings)
      .map((pair) => pair.join(' = '))
      .join(', ')}`,
    '',
    ...operations(report),
    ...tables(report),
    ...vacuum(report.vacuuming),
    ...removing(report.removal),
    ...parts(report.partitions),
  ].join('\n');
  process.stdout.write(`${text}\n`);
  const out = join(__dirname, '../../../bench/results');
  if (!existsSync(out)) return;
  writeFileSync(join(out, 'growth.txt'), `${text}\n`);
  writeFileSync(join(out, 'growth.json'), `${JSON.stringify(report, null, 2)}\n`);
  writeFileSync(join(out, 'growth.svg'), drawGrowth(report.date, report.counts, report.results));
}

function operations({ counts, results }: Report): string[] {
  const rows = Object.entries(results).flatMap(([name, costs]) =>
    costs.map((cost, level) =>
      [
        name.padEnd(26),
        n(counts[level] ?? 0, 9),
        n(cost.rps, 10),
        n(cost.p50, 8, 1),
        n(cost.p99, 8, 1),
        n(cost.serviceUs, 9),
        n(cost.postgresUs, 11),
        n(cost.walBytes, 10),
        n(cost.ratio, 8, 2),
      ].join(' '),
    ),
  );
  return [
    `${''.padEnd(26)}  stations per second   p50 ms   p99 ms CPU µs: service PostgreSQL  WAL bytes  ÷ empty`,
    ...rows,
    '',
  ];
}

function tables({ counts, sizes }: Report): string[] {
  const most = counts.at(-1) ?? 0;
  const all = sizes[most] ?? [];
  const pairings = all.find(({ table }) => table === 'pairings')?.rows ?? 1;
  const line = (name: string, rows: string, heap: number, indexes: number) =>
    `${name.padEnd(42)} ${rows.padStart(10)} ${n(heap / MB, 9)} ${n(indexes / MB, 11)} ${n((heap + indexes) / pairings, 18)}`;
  const rows = all
    .filter(({ rows }) => rows > pairings / 1000)
    .flatMap((one) => [
      line(one.table, n(one.rows, 0), one.heapBytes, indexBytes(one)),
      ...one.indexes.map(({ name, bytes }) => line(`  ${name}`, '', 0, bytes)),
    ]);
  const heap = all.reduce((sum, one) => sum + one.heapBytes, 0);
  const indexes = all.reduce((sum, one) => sum + indexBytes(one), 0);
  return [
    `${`at ${most} stations`.padEnd(42)}       rows   heap MB  indexes MB  bytes per pairing`,
    ...rows,
    line('all', '', heap, indexes),
    '',
  ];
}

function vacuum({ pairings, tables: hot, indexesBefore, indexesAfter, issue }: Vacuuming): string[] {
  return [
    `${pairings} pairings, not vacuumed       updated   of them HOT       dead   kB before   kB after   vacuum s`,
    ...Object.entries(hot).map(
      ([name, of]) =>
        `${name.padEnd(32)} ${n(of.updated, 10)} ${n(of.hot, 13)} ${n(of.dead, 10)} ${n(of.bytesBefore / 1024, 11)} ${n(of.bytesAfter / 1024, 10)} ${n(of.vacuumSeconds, 10, 2)}`,
    ),
    ...Object.keys(indexesAfter).map(
      (name) =>
        `  ${name.padEnd(66)} ${n((indexesBefore[name] ?? 0) / 1024, 11)} ${n((indexesAfter[name] ?? 0) / 1024, 10)}`,
    ),
    `a code issued, CPU µs of PostgreSQL: vacuumed ${n(issue.before.postgresUs, 0)}, after the pairings ${n(issue.unvacuumed.postgresUs, 0)}, vacuumed again ${n(issue.vacuumed.postgresUs, 0)}`,
    '',
  ];
}

const latencies = ({ p50, p99 }: { p50: number; p99: number }) => `p50 ${n(p50, 0, 1)} ms, p99 ${n(p99, 0, 1)} ms`;

function removing({
  removed,
  rate,
  without,
  during,
  afterwards,
  attemptsDead,
  attemptsVacuumSeconds,
}: Removal): string[] {
  return [
    `housekeeping while ${rate} stations a second are paired, half of saturation`,
    ...Object.entries(removed).map(
      ([what, { rows, perSecond }]) => `${what}: ${rows} rows, ${n(perSecond, 0)} a second`,
    ),
    `a pairing without it: ${latencies(without)}; with it: ${latencies(during)}; after it, not vacuumed: ${latencies(afterwards)}`,
    `attempts afterwards: ${attemptsDead} dead rows, vacuumed in ${n(attemptsVacuumSeconds, 0, 1)} s`,
    '',
  ];
}

function parts({ days, plain, partitioned, byUidMs, dropped }: Partitions): string[] {
  return [
    `attempts in ${days} partitions instead of one table`,
    `a pairing, CPU µs of PostgreSQL: ${n(plain.postgresUs, 0)} in one table, ${n(partitioned.postgresUs, 0)} partitioned; cost ratio ${n(partitioned.ratio, 0, 2)}`,
    `attempts by uid: ${n(byUidMs.plain, 0, 2)} ms in one table, ${n(byUidMs.partitioned, 0, 2)} ms partitioned`,
    `a partition dropped: ${n(dropped.seconds * 1000, 0)} ms; a pairing at ${dropped.rate} a second without drops: ${latencies(dropped.without)}; one drop a second: ${latencies(dropped.during)}`,
  ];
}
