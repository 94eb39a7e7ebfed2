import type { Config } from '../config';
import { type Html, html } from './html';

/** What is particular to one page. */
export type Content = {
  readonly title: string;
  /** The path of the page from `/`. */
  readonly path: string;
  readonly body: Html;
  readonly head?: Html;
};

/** What all pages of a deployment have in common: a sandbox leads to its own page. */
export type Site = Pick<Config, 'sandbox'>;

const NAVIGATION = [
  ['guides', 'Guides'],
  ['docs', 'Reference'],
  ['webhooks', 'Webhooks'],
  ['problems', 'Problems'],
  ['changelog', 'Changelog'],
  ['status', 'Status'],
] as const;
const SANDBOX_NAVIGATION = [['sandbox', 'Sandbox'], ...NAVIGATION] as const;

/** Returns the way from a page to `/`, relative, so that a proxy may serve all pages under a prefix. */
export function rootOf(path: string): string {
  return '../'.repeat(path.split('/').length - 2) || './';
}

/** Lays out a page. Everything that it loads comes from this service. */
export function layout({ sandbox }: Site, { title, path, body, head = html`` }: Content): string {
  const root = rootOf(path);
  const links = (sandbox ? SANDBOX_NAVIGATION : NAVIGATION).map(
    ([name, text]) => html`<a href="${root}${name}"${currentIf(`/${name}`, path)}>${text}</a>
`,
  );
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title}${path === '/' ? '' : ' · SCSP pairing'}</title>
<link rel="icon" type="image/svg+xml" href="${root}docs/icon.svg">
<link rel="stylesheet" href="${root}docs/page.css">
${head}
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header class="page-header">
<a class="home" href="${root}"><img src="${root}docs/icon.svg" alt="" width="24" height="24">SCSP pairing</a>
<nav aria-label="Site">
${links}</nav>
</header>
${body}
<footer class="page-footer">
<nav aria-label="More">
<a href="${root}openapi.yaml">openapi.yaml</a>
<a href="${root}openapi.json">openapi.json</a>
<a href="${root}versions">Versions</a>
<a href="${root}#security">Security</a>
</nav>
</footer>
<script src="${root}docs/copy.js" defer></script>
</body>
</html>
`.html;
}

/** Marks the link of the section that a page belongs to. */
function currentIf(section: string, path: string): Html {
  if (path === section) return html` aria-current="page"`;
  return path.startsWith(`${section}/`) ? html` aria-current="true"` : html``;
}

/** A block of code that can be copied. */
export function code(text: string): Html {
  return html`<pre tabindex="0"><code>${text}</code></pre>`;
}
