/** Words for people, in findings and in the output of `scsp status`. */

const NAMED = 5;

/** Returns the first 5 names, and how many more there are. */
export function names(all: readonly string[]): string {
  const first = all.slice(0, NAMED).join(', ');
  return all.length > NAMED ? `${first} and ${all.length - NAMED} more` : first;
}

/** Returns a duration in its largest unit, rounded down: `3 h`. */
export function duration(seconds: number): string {
  const units: readonly (readonly [number, string])[] = [
    [86_400, 'd'],
    [3_600, 'h'],
    [60, 'min'],
  ];
  const [size, unit] = units.find(([least]) => seconds >= least) ?? [1, 's'];
  return `${Math.floor(seconds / size)} ${unit}`;
}

/** Returns a size in its largest unit: `1.5 GB`. */
export function size(bytes: number): string {
  const units = ['kB', 'MB', 'GB', 'TB'];
  let value = bytes / 1_024;
  let unit = 0;
  for (; value >= 1_024 && unit < units.length - 1; unit += 1) value /= 1_024;
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** Returns a number with its noun: `1 token`, `2 tokens`. */
export const count = (n: number, noun: string) => `${n} ${noun}${n === 1 ? '' : 's'}`;

/** Returns a ratio as a percentage. */
export const percent = (ratio: number) => `${Math.round(ratio * 100)} %`;
