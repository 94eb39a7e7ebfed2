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
  const problemByType = new Map(problems.map((entry) => [entry[0], pageOf(problemPage(config, ...entry))]));
  const security = securityTxt(ctx);
  /** Without a public address the commands of these name the port, which is known once a request comes. */
  let home: Page | undefined;
  const guideByName = new Map<string, Page>();
  return {
    specYaml: (_req, res) => void res.type('application/yaml').send(contract.text),
    specJson: (_req, res) => void res.type('json').send(json),
    home(req, res) {
      home ??= pageOf(homePage(config, serverOf(config, req)));
      sendPage(req, res, home);
    },
    guide(req, res) {
      const name = req.params.guide;
      const server = config.sandbox ? serverOf(config, req) : SANDBOX_OF_READER;
      let page = guideByName.get(name);
      if (page === undefined) {
        page = pageOf(found(guides.guide(name)).replaceAll(SANDBOX_OF_READER, server));
        guideByName.set(name, page);
      }
      sendPage(req, res, page);
    },
    problem(req, res) {
      sendPage(req, res, found(problemByType.get(req.params.type)));
    },
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
function once(make: () => string): (req: AnyRequest, res: Response) => void {
  let page: Page | undefined;
  return (req, res) => {
    page ??= pageOf(make());
    sendPage(req, res, page);
  };
}

/** @throws Problem `not-found` */
function found<Found>(what: Found | undefined): Found {
  if (what === undefined) throw new Problem('not-found');
  return what;
}
