import type { Output } from './verb';

const CLEAR_LINE = '\r\x1b[2K';

/** Shows what a command is doing in one line of a terminal; does nothing where the output is not one. */
export function showProgress(output: Output): { show(text: string): void; clear(): void } {
  if (output.isTTY !== true) return { show() {}, clear() {} };
  return {
    show: (text) => void output.write(`${CLEAR_LINE}${text}`),
    clear: () => void output.write(CLEAR_LINE),
  };
}
