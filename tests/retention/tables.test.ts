import { schema } from '../../src/db/schema';
import { RULES } from '../../src/retention/rules';

/** The tables of which retention removes nothing, and why they do not grow without a bound. */
const WITHOUT_RULE: Readonly<Record<string, string>> = {
  active_code_counts: 'a row for each length of codes',
  audit: 'kept: it proves what was done, and after a restore repeats erasures',
  certification_results: 'a row for each CPO and check',
  code_neighbours: 'removed when the code expires, by the expiry of codes',
  code_neighbours_missing: 'one row',
  connectors: 'removed with their pairing (on delete cascade)',
  cpo_tries: 'a row for each CPO',
  cpos: 'operators register them; in a sandbox unused ones are removed',
  deployment: 'one row',
  erasures: 'removed when the erasure is complete',
  event_feed: 'one row',
  evses: 'removed with their pairing (on delete cascade)',
  issued_code_counts: 'removed after 24 hours, by the expiry of codes',
  replicas: 'a row for each replica, removed an hour after its end',
  sandbox_limits: 'a row for each CPO, with at most 100 times in each column',
  sandbox_sign_ups: 'removed after an hour, with the unused CPOs of a sandbox',
  stations: 'removed with their pairing (on delete cascade)',
  tokens:
    'operators and rotations make a few for each CPO and app; kept, because revoking one revokes what was rotated from it',
  user_code_issues: 'removed after ten minutes, by the expiry of codes',
  webhook_limits: 'a row for each app, with at most ten times in each column',
};

const tables = schema.entities.map(({ options }) => options.name).sort();
const withRule = [...new Set(RULES.map(({ table }) => table))];

test('each table has a rule of retention, or a reason for which it needs none', () =>
  expect([...withRule, ...Object.keys(WITHOUT_RULE)].sort()).toEqual(tables));

test('each rule has a name of its own', () => expect(new Set(RULES.map(({ name }) => name)).size).toBe(RULES.length));
