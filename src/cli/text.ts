/** An answer's members by the names that programs see; undefined ones are left out. */
export type Row = Readonly<Record<string, string | number | undefined>>;

/** A row for people: a line for each member, values below each other. */
export function fields(row: Row): string {
  const given = Object.entries(row).filter(([, value]) => value !== undefined);
  return align(given.map(([name, value]) => [words(name), String(value)]));
}

/** Rows for people: a line for each, under headings. */
export function columns(names: readonly string[], rows: readonly Row[]): string {
  const heading = names.map((name) => words(name).toUpperCase());
  return align([heading, ...rows.map((row) => names.map((name) => String(row[name] ?? '-')))]);
}

function words(name: string): string {
  return name.replaceAll('_', ' ');
}

function align(lines: readonly (readonly string[])[]): string {
  const widths = lines[0]?.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0))) ?? [];
  return lines
    .map((line) =>
      line
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
