import type { Command } from 'commander';
import { findCase } from '../cases/case';
import { explain, type Names, presentState } from '../cases/explain';
import { type Followed, followCase } from '../cases/follow';
import { type Case, type CaseKey, MOST } from '../cases/found';
import { type Entry, timelineOf } from '../cases/timeline';
import { rows } from '../db/query';
import { OperatorError } from '../problems';
import { withContext } from './database';
import { columns, fields, type Row } from './text';
import { printable } from './values';
import { answering, type Shell, verb } from './verb';

const OPTIONS = { user: '--user', uid: '--uid', request: '--request', codeId: '--code-id' } as const;

export function caseCommand(program: Command, shell: Shell): void {
  const command = verb(
    program,
    'case',
    'shows what happened to a user, a station, a request or a code, in one timeline',
    'scsp case --user user-1',
    'scsp case --uid NL-STATION-1 --json',
  )
    .option('--user <ID>', "the app's id of a user", printable('--user'))
    .option('--uid <UID>', 'the uid of a station', printable('--uid'))
    .option('--request <ID>', 'the id of a request to this service or of a call to a CPO', printable('--request'))
    .option('--code-id <ID>', 'the id of a code', printable('--code-id'));
  command.action(
    answering(shell, async (given, { user, uid, request, codeId }: CaseKey) => {
      const key = { user, uid, request, codeId };
      const names = Object.keys(OPTIONS) as (keyof typeof OPTIONS)[];
      const [about, more] = names.flatMap((name) => (key[name] === undefined ? [] : [`${OPTIONS[name]} ${key[name]}`]));
      if (about === undefined || more !== undefined)
        command.error(`error: exactly one of ${Object.values(OPTIONS).join(', ')} is required`);
      return withContext(given, async (ctx) => {
        const found = await findCase(ctx, key);
        const followed = await followCase(ctx, found);
        const cpos: Names = new Map(
          (await rows<{ id: string; name: string }>(ctx.db, 'select id, name from cpos')).map(({ id, name }) => [
            id,
            name,
          ]),
        );
        const timeline = timelineOf(found, followed).map((entry) => writeEntry(entry, cpos));
        if (timeline.length === 0) throw new OperatorError(`nothing is stored about ${about}`);
        const summary = {
          about,
          found: counts(found, followed),
          now: presentState(found, cpos),
          explanation: await explain(ctx, found, followed, cpos),
          ...(found.leftOut.size > 0 && {
            left_out: `the oldest ${[...found.leftOut].join(', ')}, beyond ${MOST} of a kind`,
          }),
        };
        return { row: { ...summary, timeline }, line: `${fields(summary)}\n\n${table(timeline)}` };
      });
    }),
  );
}

const table = (timeline: readonly Row[]) => columns(['at', 'what', 'cpo', 'uid', 'code_id', 'detail'], timeline);

function writeEntry({ at, what, cpoId, uid, codeId, pairingId, requestId, detail }: Entry, names: Names): Row {
  return {
    at: at.toISOString(),
    what,
    cpo_id: cpoId,
    cpo: cpoId && names.get(cpoId),
    uid,
    code_id: codeId,
    pairing_id: pairingId,
    request_id: requestId,
    detail,
  };
}

function counts(found: Case, followed: Followed): string {
  const lists = {
    codes: found.codes,
    pairings: found.pairings,
    attempts: found.attempts,
    redemptions: found.redemptions,
    ...followed,
  };
  return Object.entries(lists)
    .map(([name, list]) => `${list.length} ${name}`)
    .join(', ');
}
