import { readdirSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { projectFile } from '../contract/document';
import { type Html, html } from './html';
import { layout, type Site } from './layout';
import { type Document, renderMarkdown } from './markdown';

/** For contributors: it describes the source, which a deployment does not have. */
const NOT_PUBLISHED = ['docs/architecture.md'];
const INTEGRATE = ['cpo', 'app', 'ingest', 'sandbox', 'conformance', 'conformance-client'];
/** Others follow by their names. */
const ORDER = [...INTEGRATE, 'operations'];
/** Pages that stand for other files of the repository. */
const PAGES: Record<string, string> = {
  'openapi.yaml': 'openapi.yaml',
  'CHANGELOG.md': 'changelog',
  'README.md': '#quick-start',
  'SECURITY.md': '#security',
};

type Guide = { readonly name: string; readonly title: string; readonly text: string; readonly file: string };

/** Text to add to a guide: what only this deployment knows, in Markdown. */
export type Additions = Readonly<Record<string, string>>;

/** The name of a guide in its address. */
function nameOf(file: string): string {
  return posix.basename(file, '.md').replace(/-guide$/, '');
}

/** Reads the guides: those for integrators first, then those for operators. */
function readGuides(additions: Additions): Guide[] {
  const files = readdirSync(projectFile('docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`)
    .filter((file) => !NOT_PUBLISHED.includes(file));
  const rank = (file: string) => [...ORDER, nameOf(file)].indexOf(nameOf(file));
  return files
    .sort((a, b) => rank(a) - rank(b) || a.localeCompare(b))
    .map((file) => {
      const name = nameOf(file);
      const text = `${readFileSync(projectFile(file), 'utf8')}\n${additions[name] ?? ''}`;
      return { name, title: /^# (.*)$/m.exec(text)?.[1] ?? name, text, file };
    });
}

/** Returns where a link in a file of the repository leads on the site. */
function linkFrom(file: string, root: string, guides: readonly Guide[]) {
  return (href: string): string | undefined => {
    if (/^(https?:|mailto:|#)/.test(href)) return href;
    const [path = '', hash] = href.split('#');
    const target = posix.join(posix.dirname(file), path);
    const guide = guides.find((candidate) => candidate.file === target);
    if (guide !== undefined) return `${root}guides/${guide.name}${hash === undefined ? '' : `#${hash}`}`;
    const page = PAGES[target];
    return page === undefined ? undefined : `${root}${page}`;
  };
}

/** Makes the pages, which takes up to 50 ms for each. */
type GuidePages = {
  list(): string;
  /** Returns undefined if there is no guide of this name. */
  guide(name: string): string | undefined;
  changelog(): string;
};

/** Reads the guides and the changelog. */
export function guidePages(site: Site, additions: Additions): GuidePages {
  const guides = readGuides(additions);
  const changelog = readFileSync(projectFile('CHANGELOG.md'), 'utf8');
  return {
    list: () => listPage(site, guides),
    guide(name) {
      const guide = guides.find((candidate) => candidate.name === name);
      if (guide === undefined) return undefined;
      const document = renderMarkdown(guide.text, linkFrom(guide.file, '../', guides));
      return documentPage(site, `/guides/${name}`, document, contents(guides, '', name, document));
    },
    changelog() {
      const document = renderMarkdown(changelog, linkFrom('CHANGELOG.md', './', guides));
      return documentPage(site, '/changelog', document, sections(document));
    },
  };
}

function documentPage(site: Site, path: string, { title, content }: Document, aside: Html): string {
  return layout(site, {
    title,
    path,
    body: html`<div class="document">
<nav class="contents" aria-label="Contents">
<details><summary>Contents</summary>
${aside}
</details>
<div class="contents-wide">
${aside}
</div>
</nav>
<main class="page" id="content">
${content}</main>
</div>`,
  });
}

/** The sections of a document. */
function sections({ headings }: Document): Html {
  const entries = headings
    .filter(({ level }) => level === 2)
    .map(({ id, text }) => html`<li><a href="#${id}">${text}</a></li>\n`);
  return html`<ul>\n${entries}</ul>`;
}

/** The guides, with the sections of the one that is shown. */
function contents(guides: readonly Guide[], base: string, shown: string, document: Document): Html {
  const entries = guides.map(({ name, title }) =>
    name === shown
      ? html`<li><a href="${base}${name}" aria-current="page">${title}</a>\n${sections(document)}</li>\n`
      : html`<li><a href="${base}${name}">${title}</a></li>\n`,
  );
  return html`<ul>\n${entries}</ul>`;
}

function listPage(site: Site, guides: readonly Guide[]): string {
  const list = (chosen: readonly Guide[]) =>
    chosen.map(
      ({ name, title, text }) =>
        html`<li><a href="guides/${name}">${title}</a> <span class="quiet">${summaryOf(text)}</span></li>\n`,
    );
  const integrates = ({ name }: Guide) => INTEGRATE.includes(name);
  return layout(site, {
    title: 'Guides',
    path: '/guides',
    body: html`<main class="page" id="content">
<h1>Guides</h1>
<h2 id="integrate">Integrate</h2>
<ul class="entries">
${list(guides.filter(integrates))}</ul>
<h2 id="operate">Operate</h2>
<ul class="entries">
${list(guides.filter((guide) => !integrates(guide)))}</ul>
</main>`,
  });
}

/** Returns the first sentence below the title, without mark-up. */
function summaryOf(text: string): string {
  const paragraph = text.split('\n\n').find((part) => /^[A-Z]/.test(part)) ?? '';
  const plain = paragraph
    .replaceAll('\n', ' ')
    .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replace(/[`*]/g, '');
  return /^.*?[.:](?= |$)/.exec(plain)?.[0].replace(/:$/, '.') ?? plain;
}
