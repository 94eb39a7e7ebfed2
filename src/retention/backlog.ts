import type { Context } from '../context';
import { rowsInIndexOrder } from '../db/query';
import { parametersOf, type RetentionRule } from './rule';
import { RULES } from './rules';

/** The number of rows after which counting stops, for each rule and for each table. */
export const MOST_COUNTED = 10_000;

export type TableBacklog = { readonly table: string; readonly rows: number };

/** Builds the statement that counts the rows that a rule is to remove. Exported for the test of the plans. */
export const countDue = ({ due }: RetentionRule) => `select count(*)::int as count from (${due(MOST_COUNTED)}) due`;

/**
 * Counts the rows of each table that are due and not removed yet, at most 10,000 of a table. Locks nothing.
 * @throws Problem `unavailable`
 */
export async function readRetentionBacklog({
  config,
  db,
}: Pick<Context, 'config' | 'db'>): Promise<readonly TableBacklog[]> {
  const backlog = new Map<string, number>();
  for (const rule of RULES) {
    const [due] = await rowsInIndexOrder<{ count: number }>(db, countDue(rule), parametersOf(rule, config));
    backlog.set(rule.table, Math.min(MOST_COUNTED, (backlog.get(rule.table) ?? 0) + (due?.count ?? 0)));
  }
  return [...backlog].map(([table, rows]) => ({ table, rows }));
}
