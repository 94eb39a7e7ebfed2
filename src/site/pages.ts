import { type IncomingMessage, STATUS_CODES } from 'node:http';
import { dirname } from 'node:path';
import { type Request, type RequestHandler, type Response, Router } from 'express';
import helmet from 'helmet';
import type { Context } from '../context';
import { type Contract, type Handlers, projectFile } from '../contract/document';
import { type ProblemType, problems } from '../contract/problem-types';
import { Problem } from '../problems';
import { type Html, html } from './html';

const OWN = projectFile('src/site/assets');
// The package's entry would load the whole browser bundle into this process.
const SWAGGER = dirname(require.resolve('swagger-ui-dist/package.json'));
const ASSETS = {
  'page.css': OWN,
  'docs.js': OWN,
  'swagger-ui.css': SWAGGER,
  'swagger-ui-bundle.js': SWAGGER,
  'favicon-32x32.png': SWAGGER,
};
const CACHED = 'public, max-age=3600';
/** RFC 9116, 2.5.5 recommends less than a year. */
const SECURITY_TXT_LIFE_MS = 364 * 86_400_000;

/**
 * Serves what the pages load, under `/docs/`, and redirects `/docs/` to `/docs`.
 * @param takeSlot a step of load shedding
 */
export function siteAssets(takeSlot: RequestHandler): RequestHandler {
  const router = Router({ strict: true, caseSensitive: true });
  for (const [file, root] of Object.entries(ASSETS))
    router.get(`/docs/${file}`, takeSlot, (_req, res) =>
      res.sendFile(file, { root, headers: { 'Cache-Control': CACHED } }),
    );
  router.get('/docs/', takeSlot, (req, res) => {
    const [, ...query] = req.url.split('?');
    res.redirect(308, ['../docs', ...query].join('?'));
  });
  return router;
}

/** For the pages alone; the answers of the API are not rendered by anyone. */
const protect = helmet({
  contentSecurityPolicy: {
    useDefaults: false,
    directives: {
      defaultSrc: ["'none'"],
      scriptSrc: ["'self'"],
      styleSrc: ["'self'"],
      imgSrc: ["'self'", 'data:'],
      connectSrc: ["'self'"],
      baseUri: ["'none'"],
      formAction: ["'none'"],
      frameAncestors: ["'none'"],
    },
  },
  xFrameOptions: { action: 'deny' },
  // Whether a whole domain is HTTPS only is not a page's to decide.
  strictTransportSecurity: false,
});

/** The spec and the pages for people; made once, they change with the process only. */
export function pageHandlers(
  ctx: Context,
  contract: Contract,
): Pick<Handlers, 'specYaml' | 'specJson' | 'home' | 'docs' | 'problems' | 'problem' | 'securityTxt'> {
  const { publicUrl } = ctx.config;
  const servers = publicUrl === undefined ? contract.document.servers : [{ url: publicUrl }];
  const json = JSON.stringify({ ...contract.document, servers });
  const { securityContact, egressAddresses } = ctx.config;
  const home = homePage(securityContact, egressAddresses);
  const docs = docsPage(egressAddresses);
  const list = problemsPage();
  const security = securityTxt(ctx);
  return {
    specYaml: (_req, res) => void res.type('application/yaml').send(contract.text),
    specJson: (_req, res) => void res.type('json').send(json),
    home: (req, res) => sendPage(req, res, home),
    docs: (req, res) => sendPage(req, res, docs),
    problems: (req, res) => sendPage(req, res, list),
    problem(req, res) {
      if (!isProblemType(req.params.type)) throw new Problem('not-found');
      sendPage(req, res, problemPage(req.params.type));
    },
    securityTxt: (_req, res) => void res.type('text/plain').send(security),
  };
}

/** RFC 9116. The web addresses in it must be HTTPS. */
function securityTxt({ config: { publicUrl, securityContact }, listener }: Context): string {
  const expires = new Date(listener.now() + SECURITY_TXT_LIFE_MS).toISOString();
  const lines = [`Contact: ${securityContact}`, `Expires: ${expires}`, 'Preferred-Languages: en'];
  if (publicUrl?.startsWith('https:'))
    lines.push(`Canonical: ${publicUrl}/.well-known/security.txt`, `Policy: ${publicUrl}/#security`);
  return `${lines.join('\n')}\n`;
}

function sendPage(req: Pick<IncomingMessage, keyof IncomingMessage>, res: Response, page: Html): void {
  protect(req, res, () => res.type('html').send(page.html));
}

function isProblemType(type: string): type is ProblemType {
  return Object.hasOwn(problems, type);
}

/** Sends a problem as a page, with the status that the response has. */
export function sendErrorPage(req: Request, res: Response, problem: Problem): void {
  sendPage(req, res, errorPage(problem, req.path, res.locals.requestId));
}

/**
 * Lays out a page.
 * @param root the way from the page to `/`, relative, so that a proxy may serve all pages under a prefix
 */
function layout(root: string, title: string, body: Html, head: Html = html``): Html {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<link rel="icon" href="${root}docs/favicon-32x32.png">
${head}
<link rel="stylesheet" href="${root}docs/page.css">
</head>
<body>
<header class="page-header">
<a class="home" href="${root}">SCSP pairing</a>
<a href="${root}docs">Docs</a>
<a href="${root}openapi.yaml">YAML</a>
<a href="${root}openapi.json">JSON</a>
</header>
${body}
</body>
</html>
`;
}

function egress(addresses: readonly string[]): Html {
  if (addresses.length === 0) return html``;
  return html`<p>CPOs are called from these addresses: ${addresses.join(', ')}.</p>`;
}

function homePage(securityContact: string, egressAddresses: readonly string[]): Html {
  return layout(
    './',
    'SCSP pairing',
    html`<main class="page">
<h1>SCSP pairing</h1>
<p>This service links charging stations to the customers of a Smart Charging Service Provider (SCSP; here Jedlix), so that it may steer how they charge.
A person types a short code, and the SCSP and the Charge Point Operator (CPO) know whose station it is.</p>
<h2>Begin here</h2>
<ul class="links">
<li><a href="docs">Documentation</a>: every operation, to read and to try out</li>
<li><a href="openapi.yaml">openapi.yaml</a> and <a href="openapi.json">openapi.json</a>: the contract, for tools</li>
<li><a href="problems">Problems</a>: every error names its <code>type</code>, which is one of these pages</li>
</ul>
${egress(egressAddresses)}
<h2 id="security">Security</h2>
<p>If you have found a vulnerability, please tell us before anybody else: ${securityContact.replace(/^mailto:/, '')} (see <a href=".well-known/security.txt">security.txt</a>).
Say what you called and when, the <code>request_id</code>, and how to see it again.
Use tokens and stations of your own, and send us no token, code or customer's data.</p>
</main>`,
  );
}

function problemsPage(): Html {
  const entries = Object.entries(problems).map(
    ([type, [status, title, message]]) => html`
<li><span class="status">${status}</span> <a href="problems/${type}">${title}</a> <span class="quiet">${message}</span></li>`,
  );
  return layout(
    './',
    'Problems · SCSP pairing',
    html`<main class="page">
<h1>Problems</h1>
<p>Every error names its <code>type</code>, which is one of these pages.</p>
<ul class="problems">${entries}
</ul>
</main>`,
  );
}

function errorPage({ type, status, title, message }: Problem, path: string, requestId: string): Html {
  const root = '../'.repeat(path.split('/').length - 2) || './';
  return layout(
    root,
    `${title} · SCSP pairing`,
    html`<main class="page">
<h1>${title}</h1>
<p><span class="status">${status} ${STATUS_CODES[status] ?? ''}</span> <a href="${root}problems/${type}">/problems/${type}</a></p>
<p>${message}</p>
<p class="quiet">Request <code>${requestId}</code></p>
</main>`,
  );
}

function problemPage(type: ProblemType): Html {
  const [status, title, message, remedy] = problems[type];
  return layout(
    '../',
    `${title} · SCSP pairing`,
    html`<main class="page">
<h1>${title}</h1>
<p><span class="status">${status} ${STATUS_CODES[status] ?? ''}</span> <code>/problems/${type}</code></p>
<h2>What it means</h2>
<p>${message}</p>
<h2>What to do</h2>
<p>${remedy}</p>
<h2>More</h2>
<p><a href="../problems">All problems</a>, <a href="../docs">documentation</a></p>
</main>`,
  );
}

function docsPage(egressAddresses: readonly string[]): Html {
  return layout(
    './',
    'SCSP pairing: documentation',
    html`${egress(egressAddresses)}<main id="swagger-ui"><noscript>This page needs JavaScript; <a href="openapi.yaml">openapi.yaml</a> does not.</noscript></main>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/docs.js"></script>`,
    html`<link rel="stylesheet" href="docs/swagger-ui.css">`,
  );
}
