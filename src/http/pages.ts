import { dirname, join } from 'node:path';
import express, { type RequestHandler, Router } from 'express';
import helmet from 'helmet';
import type { Context } from '../context';
import type { Handlers, OpenApiDocument } from '../contract';
import { Problem, problems } from '../problems';

export const pageAssets: RequestHandler = Router();

export function pageHandlers(
  ctx: Context,
  contract: { text: string; document: OpenApiDocument },
): Pick<Handlers, 'specYaml' | 'specJson' | 'home' | 'docs' | 'problem'> {
  void ctx; void express; void dirname; void join; void helmet;
  return {
    specYaml: (_req, res) => void res.type('application/yaml').send(contract.text),
    specJson: (_req, res) => void res.json(contract.document),
    home: (_req, res) => void res.type('html').send('home'),
    docs: (_req, res) => void res.type('html').send('docs'),
    problem: (req, res) => {
      if (!(req.params.type in problems)) throw new Problem('not-found');
      res.type('html').send('x');
    },
  };
}
