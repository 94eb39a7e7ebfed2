import { readFileSync } from 'node:fs';
import type { Page } from 'playwright-core';

const AXE = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

/** Only colours depend on the colour scheme. */
const LOOKS = [
  { colorScheme: 'light', width: 390, runOnly: TAGS },
  { colorScheme: 'light', width: 1280, runOnly: TAGS },
  { colorScheme: 'dark', width: 1280, runOnly: ['color-contrast'] },
  { colorScheme: 'dark', width: 390, runOnly: ['color-contrast'] },
] as const;

/** Colours between two themes would count as a lack of contrast. */
const TRANSITIONS_ENDED = `Promise.allSettled(document.getAnimations()
  .filter(({ effect }) => effect.getComputedTiming().endTime < Infinity)
  .map(({ finished }) => finished)).then(() => undefined)`;

/** The rules that a page breaks as it is now in any of its looks, each with the first places; and whether it is too wide. */
export async function violations(page: Page): Promise<unknown[]> {
  await page.evaluate(AXE);
  const found: unknown[] = [];
  for (const { colorScheme, width, runOnly } of LOOKS) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height: 844 });
    await page.evaluate(TRANSITIONS_ENDED);
    const broken = await page.evaluate<string[]>(`axe.run({ runOnly: ${JSON.stringify(runOnly)} }).then((all) =>
      all.violations.map(({ id, nodes }) => [id, nodes.length, ...nodes.slice(0, 3).map((node) => node.target)].join(' ')))`);
    const tooWide = await page.evaluate<number>('document.documentElement.scrollWidth - innerWidth');
    if (broken.length > 0 || tooWide > 0) found.push({ colorScheme, width, broken, tooWide });
  }
  return found;
}
