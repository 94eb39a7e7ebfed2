import type { Level } from './level';

export type TableSize = {
  table: string;
  rows: number;
  /** With what is out of line, and the free space map. */
  heapBytes: number;
  indexes: { name: string; bytes: number }[];
};

/** What the service's tables take on disk, the largest first. */
export async function sizes({ sql }: Pick<Level, 'sql'>): Promise<TableSize[]> {
  const { rows } = await sql.query<TableSize>(`
    select c.relname as "table", greatest(c.reltuples, 0)::float8 as rows, pg_table_size(c.oid)::float8 as "heapBytes",
      (select coalesce(json_agg(json_build_object('name', i.indexrelid::regclass::text, 'bytes', pg_relation_size(i.indexrelid))
         order by i.indexrelid), '[]') from pg_index i where i.indrelid = c.oid) as indexes
    from pg_class c where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace and c.relname <> 'migrations'
    order by pg_total_relation_size(c.oid) desc, c.relname`);
  return rows;
}

export const indexBytes = ({ indexes }: TableSize) => indexes.reduce((sum, { bytes }) => sum + bytes, 0);
