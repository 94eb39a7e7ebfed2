import MarkdownIt, { type Token } from 'markdown-it';
import type { Html } from './html';

export type Heading = { readonly level: number; readonly text: string; readonly id: string };
export type Document = { readonly title: string; readonly content: Html; readonly headings: readonly Heading[] };

/** Returns where a link leads on the site, or undefined if what it names is not published. */
export type ResolveLink = (href: string) => string | undefined;

// Raw HTML stays text.
const markdown = new MarkdownIt({ html: false });
// A wide block can be scrolled with the keyboard.
const block = (tokens: Token[], index: number) =>
  `<pre tabindex="0"><code>${markdown.utils.escapeHtml(tokens[index]?.content ?? '')}</code></pre>\n`;
markdown.renderer.rules.fence = block;
markdown.renderer.rules.code_block = block;

/** Renders Markdown to HTML with anchors at its headings, which are those that GitHub gives them. */
export function renderMarkdown(text: string, resolveLink: ResolveLink): Document {
  const tokens = markdown.parse(text, {});
  const headings = anchorHeadings(tokens);
  labelCells(tokens);
  for (const { children } of tokens) resolveLinks(children ?? [], resolveLink);
  const html = markdown.renderer.render(tokens, markdown.options, {});
  return { title: headings.find(({ level }) => level === 1)?.text ?? '', content: { html }, headings };
}

/** Returns the text of an inline token without its mark-up. */
function textOf(token: Token | undefined): string {
  return (token?.children ?? []).map(({ content }) => content).join('');
}

function anchorHeadings(tokens: readonly Token[]): Heading[] {
  const counts = new Map<string, number>();
  const headings: Heading[] = [];
  for (const [index, token] of tokens.entries()) {
    if (token.type !== 'heading_open') continue;
    const text = textOf(tokens[index + 1]);
    const anchor = anchorOf(text);
    const count = counts.get(anchor) ?? 0;
    counts.set(anchor, count + 1);
    const id = count === 0 ? anchor : `${anchor}-${count}`;
    token.attrSet('id', id);
    headings.push({ level: Number(token.tag.slice(1)), text, id });
  }
  return headings;
}

function anchorOf(heading: string): string {
  return heading
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\p{M}_ -]/gu, '')
    .replaceAll(' ', '-');
}

const ROLES: Record<string, string> = {
  table_open: 'table',
  thead_open: 'rowgroup',
  tbody_open: 'rowgroup',
  tr_open: 'row',
  th_open: 'columnheader',
  td_open: 'cell',
};

/**
 * Labels each cell with its column, for screens on which the cells of a row stand below each other. The roles keep it a table
 * there.
 */
function labelCells(tokens: readonly Token[]): void {
  let columns: string[] = [];
  let column = 0;
  for (const [index, token] of tokens.entries()) {
    const role = ROLES[token.type];
    if (role !== undefined) token.attrSet('role', role);
    if (token.type === 'table_open') columns = [];
    if (token.type === 'tr_open') column = 0;
    if (token.type === 'th_open') columns.push(textOf(tokens[index + 1]));
    if (token.type === 'td_open') token.attrSet('data-label', columns[column++] ?? '');
  }
}

/** Points links to pages of the site. A link to what is not published becomes its text. */
function resolveLinks(tokens: readonly Token[], resolveLink: ResolveLink): void {
  let isHidden = false;
  for (const token of tokens) {
    if (token.type === 'link_open') {
      const href = resolveLink(String(token.attrGet('href')));
      isHidden = href === undefined;
      if (href !== undefined) token.attrSet('href', href);
    }
    if (token.type === 'link_open' || token.type === 'link_close') token.hidden = isHidden;
  }
}
