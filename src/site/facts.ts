import type { Config } from '../config';
import { CONNECT_MS as CPO_CONNECT_MS, DEADLINE_MS as CPO_DEADLINE_MS } from '../cpos/client';
import { BODY_LIMIT } from '../http/body';
import { HTTP_LIMITS } from '../http/server';
import { GIVE_UP_DAYS } from '../outbox/deliver';
import { KEEP_HOURS } from '../pairing/idempotency';
import { CONNECT_MS as WEBHOOK_CONNECT_MS, DEADLINE_MS as WEBHOOK_DEADLINE_MS } from '../webhooks/client';
import { PAUSES } from '../webhooks/pauses';

/** The longest `wait` of openapi.yaml. */
const LONGEST_WAIT_SECONDS = 30;
const RETRY_HOURS = Math.round(PAUSES.reduce((sum: number, pause) => sum + pause, 0) / 3_600);

type Fact = readonly [what: string, value: string];

/** Says where calls come from. */
export function egress({ egressAddresses }: Config): string {
  return egressAddresses.length === 0
    ? 'the operator of this server has not listed its addresses'
    : egressAddresses.join(', ');
}

/** Writes a duration in the largest unit that says it in a whole number, from two of that unit on. */
export function inWords(seconds: number): string {
  const units: [string, number][] = [
    ['days', 86_400],
    ['hours', 3_600],
    ['minutes', 60],
  ];
  const [unit, length] = units.find(([, length]) => seconds >= 2 * length && seconds % length === 0) ?? ['seconds', 1];
  return `${seconds / length} ${unit}`;
}

/** The addresses and times that a CPO meets, as a section of its guide in Markdown. */
export function factsForCpos(config: Config): string {
  return section('Addresses and time-outs of this server', [
    ['This server calls you from', egress(config)],
    ['It connects to you within', inWords(CPO_CONNECT_MS / 1_000)],
    ['You answer a call within', inWords(CPO_DEADLINE_MS / 1_000)],
    ['It repeats an unpair call for', inWords(GIVE_UP_DAYS * 86_400)],
    ['Your request arrives completely within', inWords(HTTP_LIMITS.requestTimeout / 1_000)],
    ['Your body has at most', `${BODY_LIMIT.toLocaleString('en')} bytes`],
    ['An `Idempotency-Key` is remembered for', inWords(KEEP_HOURS * 3_600)],
    ['A pairing code works for', inWords(config.codeTtlSeconds)],
  ]);
}

/** The addresses and times that an app meets, as a section of its guide in Markdown. */
export function factsForApps(config: Config): string {
  return section('Addresses and time-outs of this server', [
    ['This server calls webhook endpoints from', egress(config)],
    ['It connects to an endpoint within', inWords(WEBHOOK_CONNECT_MS / 1_000)],
    ['An endpoint answers within', inWords(WEBHOOK_DEADLINE_MS / 1_000)],
    ['It repeats a webhook for', `${RETRY_HOURS} hours`],
    ['A long poll waits at most', inWords(LONGEST_WAIT_SECONDS)],
    ['A CPO is asked about its code for at most', inWords(CPO_DEADLINE_MS / 1_000)],
    ['It repeats an unpair call to a CPO for', inWords(GIVE_UP_DAYS * 86_400)],
    ['Your request arrives completely within', inWords(HTTP_LIMITS.requestTimeout / 1_000)],
    ['An `Idempotency-Key` is remembered for', inWords(KEEP_HOURS * 3_600)],
    ['A pairing code works for', inWords(config.codeTtlSeconds)],
  ]);
}

function section(title: string, facts: readonly Fact[]): string {
  const lines = facts.map(([what, value]) => `| ${what} | ${value} |`);
  return [`## ${title}`, '', '| what | value |', '|---|---|', ...lines, ''].join('\n');
}
