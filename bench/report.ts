import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import type { Measured } from './measure';
import { ROUNDS, SHORT } from './options';

/** What a report begins with. */
export const environment = () => ({
  date: new Date().toISOString().slice(0, 10),
  node: process.version,
  machine: `${cpus().length} × ${cpus()[0]?.model.trim()}`,
  rounds: ROUNDS,
});

export const COLUMNS = ['per second', 'p50 ms', 'p99 ms', 'service µs', 'PostgreSQL µs'];

export const columnsOf = ({ rps, p50, p99, serviceUs, postgresUs }: Measured) => [
  rps.toFixed(0),
  p50.toFixed(1),
  p99.toFixed(1),
  serviceUs.toFixed(0),
  postgresUs.toFixed(0),
];

/** Aligns the cells of rows: the first column to the left, the others to the right. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const pad = (cell: string, column: number) =>
    column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0);
  return rows.map((row) => row.map(pad).join('  ').trimEnd()).join('\n');
}

/** Prints a report and writes it as text and JSON to bench/results; that of a short run to dist/bench/results. */
export function save(name: string, text: string, report: object): void {
  const folder = join(__dirname, SHORT ? 'results' : '../../bench/results');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${name}.txt`), text);
  writeFileSync(join(folder, `${name}.json`), `${JSON.stringify(report, null, 2)}\n`);
  process.stdout.write(text);
}
