import { OperatorError } from '../problems';

/**
 * Parses entries that were kept outside the database: the output of `scsp audit list --json`, or lines of the service's log, which
 * may contain lines of other programs.
 * @param words texts that appear in each entry that the caller looks for
 * @throws OperatorError when a line with one of `words` is damaged
 */
export function readExported(text: string, words: readonly string[]): Record<string, unknown>[] {
  return parse(text, words).map(Object);
}

function parse(text: string, words: readonly string[]): unknown[] {
  try {
    const whole: unknown = JSON.parse(text);
    return Array.isArray(whole) ? whole : [whole];
  } catch {
    return text.split('\n').flatMap((line) => (line.trim() === '' ? [] : [parseLine(line, words)]));
  }
}

/** Parses a line; returns undefined for one of another program. */
function parseLine(line: string, words: readonly string[]): unknown {
  try {
    return JSON.parse(line);
  } catch {
    const word = words.find((one) => line.includes(one));
    if (word !== undefined) throw new OperatorError(`a line with "${word}" is not JSON`);
    return undefined;
  }
}
