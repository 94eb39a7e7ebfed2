import { type Command, InvalidArgumentError } from 'commander';
import { cpoIdOf } from '../cpos/cpos';
import { transaction } from '../db/query';
import { limitsOf } from '../pairing/limits';
import { LIMIT_NAMES, type LimitName, limitOverrides, resetLimits, setLimit } from '../pairing/set-limits';
import { withContext } from './database';
import { whole } from './values';
import { answering, type Shell, verb } from './verb';

type Change = { readonly name: LimitName; readonly limit: number | null };

export function cpoLimitsCommand(cpo: Command, shell: Shell): void {
  verb(
    cpo,
    'limits',
    "shows a CPO's limits on incorrect codes and what remains of them, resets the counters, or changes the limits",
    'scsp cpo limits "Station Works"',
    'scsp cpo limits "Station Works" --reset',
    'scsp cpo limits "Station Works" --set LIMIT_CPO_24H=200 --set LIMIT_CPO_10MIN=default',
  )
    .argument('<CPO>', 'its id or name')
    .option('--reset', 'resets the counters of incorrect codes')
    .option('--set <NAME=N>', 'overrides a limit for this CPO; NAME=default removes the override', readChange, [])
    .action(
      answering(shell, (given, named: string, options: { reset?: true; set: readonly Change[] }) =>
        withContext(given, async (ctx) => {
          const id = await cpoIdOf(ctx.db, named);
          await transaction(ctx.db, async (db) => {
            for (const { name, limit } of options.set) await setLimit({ ...ctx, db }, id, name, limit);
            if (options.reset) await resetLimits({ ...ctx, db }, id);
          });
          const own = await limitOverrides(ctx, id);
          return {
            rows: (await limitsOf(ctx, id)).map(({ name, limit, left, windowSeconds }, index) => {
              const setting = LIMIT_NAMES[index] as LimitName;
              return { name, limit, left, window_seconds: windowSeconds, setting, set_to: own[setting] };
            }),
            columns: ['name', 'limit', 'left', 'window_seconds', 'setting', 'set_to'],
          };
        }),
      ),
    );
}

function readChange(text: string, previous: readonly Change[]): readonly Change[] {
  const [given = '', value = ''] = text.split('=');
  const name = LIMIT_NAMES.find((known) => known === given.toUpperCase());
  if (name === undefined) throw new InvalidArgumentError(`Unknown limit "${given}". Known: ${LIMIT_NAMES.join(', ')}.`);
  return [...previous, { name, limit: value === 'default' ? null : whole(1, 1_000_000)(value) }];
}
