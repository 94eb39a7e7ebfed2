const BAR = 28;
const GAP = 30;
const LEFT = 120;
const WIDTH = 760;

const escapeXml = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');

/** Horizontal bars: pairings per second. */
export function drawChart(date: string, bars: readonly { name: string; what: string; value: number }[]): string {
  const most = Math.max(...bars.map(({ value }) => value));
  const rows = bars.map(({ name, what, value }, i) => {
    const y = 50 + i * (BAR + GAP);
    const width = ((WIDTH - LEFT - 80) * value) / most;
    const fill = name === 'service' ? '#0a7d55' : '#8a97a8';
    return `<text x="${LEFT - 10}" y="${y + 19}" text-anchor="end" font-weight="bold">${escapeXml(name)}</text>
<rect x="${LEFT}" y="${y}" width="${width.toFixed(1)}" height="${BAR}" rx="3" fill="${fill}"/>
<text x="${(LEFT + width + 8).toFixed(1)}" y="${y + 19}">${Math.round(value)}</text>
<text x="${LEFT}" y="${y + BAR + 15}" font-size="11" fill="#667">${escapeXml(what)}</text>`;
  });
  const height = 60 + bars.length * (BAR + GAP);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="system-ui, sans-serif" font-size="14">
<rect width="100%" height="100%" fill="#fff"/>
<text x="20" y="28" font-size="16" font-weight="bold">Durable pairings per second, ${date}</text>
${rows.join('\n')}
</svg>
`;
}
