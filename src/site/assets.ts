import { dirname } from 'node:path';
import { type RequestHandler, Router } from 'express';
import { projectFile } from '../contract/document';
import type { Site } from './layout';

const OWN = projectFile('src/site/assets');
// The package's entry would load the whole browser bundle into this process.
const SWAGGER = dirname(require.resolve('swagger-ui-dist/package.json'));
const ASSETS = {
  'page.css': OWN,
  'home.css': OWN,
  'copy.js': OWN,
  'icon.svg': OWN,
  'reference.css': OWN,
  'reference.js': OWN,
  'reference-plugins.js': OWN,
  'swagger-ui.css': SWAGGER,
  'swagger-ui-bundle.js': SWAGGER,
};
/** For the page of a sandbox deployment. */
const SANDBOX_ASSETS = { 'sandbox.css': OWN, 'sandbox.js': OWN };
const CACHED = 'public, max-age=3600';
/** Paths of pages that have no other page below them. */
const PAGES = ['docs', 'guides'];

/**
 * Serves what the pages load, under `/docs/`, and redirects `/docs/` to `/docs`.
 * @param takeSlot a step of load shedding
 */
export function siteAssets(takeSlot: RequestHandler, { sandbox }: Site): RequestHandler {
  const router = Router({ strict: true, caseSensitive: true });
  for (const [file, root] of Object.entries({ ...ASSETS, ...(sandbox && SANDBOX_ASSETS) }))
    router.get(`/docs/${file}`, takeSlot, (_req, res) =>
      res.sendFile(file, { root, headers: { 'Cache-Control': CACHED } }),
    );
  for (const page of PAGES)
    router.get(`/${page}/`, takeSlot, (req, res) => {
      const [, ...query] = req.url.split('?');
      res.redirect(308, [`../${page}`, ...query].join('?'));
    });
  return router;
}
