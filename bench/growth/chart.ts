const WIDTH = 760;
const HEIGHT = 380;
const PLOT = { left: 60, right: 540, top: 60, bottom: 320 };
const MOST = 1.6;
const COLOURS = ['#0a7d55', '#1f5fbf', '#b8590b', '#7a3fa0', '#66707c'];

/** Lines: what each operation costs at each number of stations, as a multiple of the empty database. */
export function drawGrowth(
  date: string,
  counts: readonly number[],
  results: Readonly<Record<string, readonly { ratio: number }[]>>,
): string {
  const x = (level: number) => PLOT.left + ((PLOT.right - PLOT.left) * level) / Math.max(1, counts.length - 1);
  const y = (ratio: number) => PLOT.bottom - ((PLOT.bottom - PLOT.top) * Math.min(ratio, MOST)) / MOST;
  const grid = [0, 0.4, 0.8, 1, 1.2, 1.6].map(
    (ratio) =>
      `<line x1="${PLOT.left}" x2="${PLOT.right}" y1="${y(ratio)}" y2="${y(ratio)}" stroke="${ratio === 1.2 ? '#c0392b' : '#dde'}"${ratio === 1.2 ? ' stroke-dasharray="6 4"' : ''}/>
<text x="${PLOT.left - 8}" y="${y(ratio) + 4}" text-anchor="end" font-size="11">${ratio}</text>`,
  );
  const labels = counts.map(
    (count, level) =>
      `<text x="${x(level)}" y="${PLOT.bottom + 20}" text-anchor="middle" font-size="11">${count.toLocaleString('en')}</text>`,
  );
  const lines = Object.entries(results).map(([name, costs], i) => {
    const colour = COLOURS[i % COLOURS.length];
    const points = costs.map(({ ratio }, level) => `${x(level).toFixed(1)},${y(ratio).toFixed(1)}`);
    const key = PLOT.top + 30 + i * 24;
    return `<polyline points="${points.join(' ')}" fill="none" stroke="${colour}" stroke-width="2.5"/>
<rect x="${PLOT.right + 24}" y="${key - 9}" width="12" height="12" fill="${colour}"/>
<text x="${PLOT.right + 42}" y="${key + 2}" font-size="12">${name}: ${(costs.at(-1)?.ratio ?? 0).toFixed(2)}</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="system-ui, sans-serif" font-size="14">
<rect width="100%" height="100%" fill="#fff"/>
<text x="20" y="28" font-size="16" font-weight="bold">Cost by paired stations, as a multiple of the empty database, ${date}</text>
${[...grid, ...labels, ...lines].join('\n')}
<text x="${(PLOT.left + PLOT.right) / 2}" y="${PLOT.bottom + 44}" text-anchor="middle" font-size="12">paired stations</text>
</svg>
`;
}
