type Value = string | number | object | undefined;

/** An answer's members by the names that programs see; undefined ones are left out. */
export type Row = Readonly<Record<string, Value>>;

/** A row for people: a line for each member, values below each other. */
export function fields(row: Row): string {
  const given = Object.entries(row).filter(([, value]) => value !== undefined);
  return align(given.map(([name, value]) => [words(name), cell(value)]));
}

/** Rows for people: a line for each, under headings. */
export function columns(names: readonly string[], rows: readonly Row[]): string {
  const heading = names.map((name) => words(name).toUpperCase());
  return align([heading, ...rows.map((row) => names.map((name) => cell(row[name] ?? '-')))]);
}

/** Some of what is shown was sent by others: a terminal must not act on it, nor a line break in two. */
function cell(value: Value): string {
  const text = Array.isArray(value)
    ? value.join(', ')
    : typeof value === 'object'
      ? JSON.stringify(value)
      : String(value);
  return text.replace(/\p{C}/gu, '\ufffd');
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
