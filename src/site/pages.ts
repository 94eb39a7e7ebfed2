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

/** The spec and the pages for people; made once, they change with the process only. */
export function pageHandlers(ctx: Context, contract: Contract): PageHandlers {
  const { config } = ctx;
  const servers = config.publicUrl === undefined ? contract.document.servers : [{ url: config.publicUrl }];
  const json = JSON.stringify({ ...contract.document, servers });
  const guides = guidePages(config, { cpo: factsForCpos(config), app: factsForApps(config) });
  const problems = problemsOf(config);
  const problemByType = new Map(problems.map((entry) => [entry[0], pageOf(problemPage(config, ...entry))]));
  const security = securityTxt(ctx);
  /** Made at the first request: without a public address their commands name the port, which is known by then. */
  let home: Page | undefined;
  let guideByName: ReadonlyMap<string, Page> | undefined;
  return {
    specYaml: (_req, res) => void res.type('application/yaml').send(contract.text),
    specJson: (_req, res) => void res.type('json').send(json),
    home(req, res) {
      home ??= pageOf(homePage(config, serverOf(config, req)));
      sendPage(req, res, home);
    },
    guide(req, res) {
      const server = config.sandbox ? serverOf(config, req) : SANDBOX_OF_READER;
      guideByName ??= new Map(
        [...guides.guides].map(([name, text]) => [name, pageOf(text.replaceAll(SANDBOX_OF_READER, server))]),
      );
      sendPage(req, res, found(guideByName, req.params.guide));
    },
    problem(req, res) {
      sendPage(req, res, found(problemByType, req.params.type));
    },
    guides: always(guides.list),
    docs: always(referencePage(config, contract.document)),
    problems: always(problemList(config, problems)),
    webhooks: always(webhooksPage(config, contract)),
    changelog: always(guides.changelog),
    versions: always(versionsPage(config, contract)),
    status: always(statusPage(config)),
    securityTxt: (_req, res) => void res.type('text/plain').send(security),
  };
}

/** Answers with one page. */
function always(text: string): (req: AnyRequest, res: Response) => void {
  const page = pageOf(text);
  return (req, res) => sendPage(req, res, page);
}

/** @throws Problem `not-found` */
function found(pages: ReadonlyMap<string, Page>, name: string): Page {
  const page = pages.get(name);
  if (page === undefined) throw new Problem('not-found');
  return page;
}
