import { type Html, html } from './html';

/** A message between two actors (their numbers), or a remark across all of them. */
export type Step = {
  readonly from?: number;
  readonly to?: number;
  readonly text: string;
  readonly isReply?: boolean;
  /** What the list beside the diagram says. */
  readonly detail: Html;
};

export type Sequence = {
  readonly id: string;
  readonly title: string;
  /** What a reader who does not see the diagram is told. */
  readonly description: string;
  readonly actors: readonly string[];
  readonly steps: readonly Step[];
};

// In units of the view box, which is as wide as a small phone: there its text has the size of the page's text.
const WIDTH = 360;
const HEAD = 34;
const ROW = 38;
const BOX = 104;

/** Draws a sequence diagram, and lists its steps beside it. */
export function figure(sequence: Sequence): Html {
  const { id, title, description, actors, steps } = sequence;
  const height = HEAD + steps.length * ROW + 18;
  const gap = (WIDTH - BOX) / (actors.length - 1);
  const centre = (actor: number) => BOX / 2 + actor * gap;
  const heads = actors.map(
    (
      name,
      actor,
    ) => html`<g class="actor"><line x1="${centre(actor)}" y1="${HEAD}" x2="${centre(actor)}" y2="${height - 4}"/>
<rect x="${centre(actor) - BOX / 2 + 1}" y="1" width="${BOX - 2}" height="${HEAD - 4}" rx="6"/>
<text x="${centre(actor)}" y="21">${name}</text></g>
`,
  );
  const rows = steps.map((step, index) => drawStep(step, index + 1, HEAD + index * ROW + 32, centre));
  const details = steps.map(({ detail }) => html`<li>${detail}</li>\n`);
  return html`<figure class="sequence" id="${id}">
<figcaption><h3>${title}</h3></figcaption>
<svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-labelledby="${id}-title ${id}-description">
<title id="${id}-title">${title}</title>
<desc id="${id}-description">${description}</desc>
${heads}${rows}</svg>
<ol>
${details}</ol>
</figure>`;
}

function drawStep(
  { from, to, text, isReply }: Step,
  number: number,
  y: number,
  centre: (actor: number) => number,
): Html {
  const label = `${number} ${text}`;
  if (from === undefined || to === undefined)
    return html`<g class="remark"><rect x="1" y="${y - 20}" width="${WIDTH - 2}" height="26" rx="13"/>
<text x="${WIDTH / 2}" y="${y - 3}">${label}</text></g>
`;
  const direction = Math.sign(to - from);
  const [start, end] = [centre(from) + direction * 2, centre(to) - direction * 2];
  const head = `${end},${y} ${end - direction * 8},${y - 4} ${end - direction * 8},${y + 4}`;
  return html`<g class="${isReply ? 'reply' : 'call'}"><line x1="${start}" y1="${y}" x2="${end - direction * 6}" y2="${y}"/>
<polygon points="${head}"/>
<text x="${(start + end) / 2}" y="${y - 7}">${label}</text></g>
`;
}
