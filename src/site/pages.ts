import type { Response } from 'express';
import type { Context } from '../context';
import { problemsOf } from '../contract/deployment-problems';
import type { Contract, Handlers } from '../contract/document';
import { Problem } from '../problems';
import { factsForApps, factsForCpos } from './facts';
import { guidePages } from './guides';
import { homePage } from './home';
import { problemList, problemPage } from './problem-pages';
import { referencePage } from './reference';
import { securityTxt } from './security-txt';
import { type AnyRequest, type Page, pageOf, sendPage, serverOf } from './send';
import { statusPage } from './status';
import { versionsPage } from './versions';
import { webhooksPage } from './webhooks';

type PageHandlers = Pick<
  Handlers,
  | 'specYaml'
  | 'specJson'
  | 'home'
  | 'guides'
  | 'guide'
  | 'docs'
  | 'problems'
  | 'problem'
  | 'webhooks'
  | 'changelog'
  | 'versions'
  | 'status'
  | 'securityTxt'
>;

/** The address in the commands of the guides. A sandbox shows its own instead. */
const SANDBOX_OF_READER = 'http://localhost:3000';

/** The spec and the pages for people. Each is made for its first request, and changes with the process only. */
export function pageHandlers(ctx: Context, contract: Contract): PageHandlers {
  const { config } = ctx;
  const servers = config.publicUrl === undefined ? contract.document.servers : [{ url: config.publicUrl }];
  const json = JSON.stringify({ ...contract.document, servers });
  const guides = guidePages(config, { cpo: factsForCpos(config), app: factsForApps(config) });
  const problems = problemsOf(config);
  const security = securityTxt(ctx);
  // Without a public address the commands of home and guides name the port, which is known once a request comes.
  const guide = onceEach((name, req) =>
    guides.guide(name)?.replaceAll(SANDBOX_OF_READER, config.sandbox ? serverOf(config, req) : SANDBOX_OF_READER),
  );
  const problem = onceEach((name) => {
    const entry = problems.find(([type]) => type === name);
    return entry && problemPage(config, ...entry);
  });
  return {
    specYaml: (_req, res) => void res.type('application/yaml').send(contract.text),
    specJson: (_req, res) => void res.type('json').send(json),
    home: once((req) => homePage(config, serverOf(config, req))),
    guide: (req, res) => guide(req.params.guide, req, res),
    problem: (req, res) => problem(req.params.type, req, res),
    guides: once(guides.list),
    docs: once(() => referencePage(config, contract.document)),
    problems: once(() => problemList(config, problems)),
    webhooks: once(() => webhooksPage(config, contract)),
    changelog: once(guides.changelog),
    versions: once(() => versionsPage(config, contract)),
    status: once(() => statusPage(config)),
    securityTxt: (_req, res) => void res.type('text/plain').send(security),
  };
}

/** Answers with one page, which is made for the first request. */
function once(make: (req: AnyRequest) => string): (req: AnyRequest, res: Response) => void {
  let page: Page | undefined;
  return (req, res) => {
    page ??= pageOf(make(req));
    sendPage(req, res, page);
  };
}

/**
 * Answers with the page of a name, which is made for its first request.
 * @param make returns undefined if there is no such page
 * @returns a function that throws Problem `not-found`
 */
function onceEach(make: (name: string, req: AnyRequest) => string | undefined) {
  const pages = new Map<string, Page>();
  return (name: string, req: AnyRequest, res: Response): void => {
    let page = pages.get(name);
    if (page === undefined) {
      const text = make(name, req);
      if (text === undefined) throw new Problem('not-found');
      page = pageOf(text);
      pages.set(name, page);
    }
    sendPage(req, res, page);
  };
}
