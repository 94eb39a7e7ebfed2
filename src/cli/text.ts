type Value = string | number | boolean | object | undefined;

/** The members of an answer by their JSON names. Undefined members are omitted. */
export type Row = Readonly<Record<string, Value>>;

/** Formats a row as one line for each member, with aligned values. */
export function fields(row: Row): string {
  const given = Object.entries(row).filter(([, value]) => value !== undefined);
  return align(given.map(([name, value]) => [words(name), cell(value)]));
}

/** Formats rows as a table with headings. */
export function columns(names: readonly string[], rows: readonly Row[]): string {
  const heading = names.map((name) => words(name).toUpperCase());
  return align([heading, ...rows.map((row) => names.map((name) => cell(row[name] ?? '-')))]);
}

/** Formats values as one line. */
export function line(values: readonly Value[]): string {
  return values.map(cell).join('  ').trimEnd();
}

/** Formats a value without control characters: callers sent some of the values, and they must not reach a terminal. */
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
