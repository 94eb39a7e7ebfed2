import { Counter, Histogram, type Registry } from 'prom-client';
import type { ProblemType } from '../contract/problem-types';
import { type Origin, optionalOriginFields, originFields } from '../contract/trace-context';
import type { Log } from '../log';
import { type CpoLabel, counterOf } from './labels';

/** A pairing, or an attempt at one, in log fields. */
type Attempt = { readonly cpo_id: string; readonly payload_protocol: string };

/** Records pairings, codes and users. */
export function pairingMetrics(registry: Registry, log: Log, cpoLabel: CpoLabel) {
  const pairings = new Counter({
    name: 'scsp_pairings_total',
    help: 'Pair requests and redemptions, by CPO, payload protocol and outcome',
    labelNames: ['cpo', 'protocol', 'outcome'],
    registers: [registry],
  });
  const count = ({ cpo_id, payload_protocol }: Attempt, outcome: 'paired' | ProblemType) =>
    pairings.inc({ cpo: cpoLabel(cpo_id), protocol: payload_protocol, outcome });
  const codeSeconds = new Histogram({
    name: 'scsp_code_pairing_seconds',
    help: 'Time from the issue of a code to its pairing',
    buckets: [5, 10, 30, 60, 120, 300, 600, 1_800, 3_600],
    registers: [registry],
  });
  const dayLimits = new Counter({
    name: 'scsp_cpo_day_limits_reached_total',
    help: 'How often a CPO has reached its 24-hour limit on incorrect codes, by CPO',
    labelNames: ['cpo'],
    registers: [registry],
  });
  const codes = counterOf(
    registry,
    'scsp_codes_total',
    'Pairing codes issued, used for a pairing, cancelled and expired',
    'event',
    ['issued', 'used', 'cancelled', 'expired'],
  );
  const unpairings = counterOf(registry, 'scsp_unpairings_total', 'Pairings ended, by who ended them', 'by', [
    'app',
    'cpo',
  ]);
  const forgotten = new Counter({
    name: 'scsp_users_forgotten_total',
    help: 'Users forgotten, including those without stored data',
    registers: [registry],
  });

  return {
    stationPaired(fields: Attempt & { pairing_id: string; code_id?: string }, origin: Origin) {
      count(fields, 'paired');
      log.info('station paired', { ...fields, ...originFields(origin) });
    },
    pairingRefused(outcome: ProblemType, attempt: Attempt & { code_id?: string | undefined }, origin: Origin) {
      count(attempt, outcome);
      log.info('pairing refused', { outcome, ...attempt, ...originFields(origin) });
    },
    /** Counts a pair request that was refused before its code was checked. Its log line is that of the request. */
    pairRequestRejected(outcome: ProblemType, attempt: Attempt) {
      count(attempt, outcome);
    },
    redemptionRefused(outcome: ProblemType, attempt: Attempt, origin: Origin) {
      count(attempt, outcome);
      log.info('redemption refused', { outcome, ...attempt, ...originFields(origin) });
    },
    dayLimitReached(cpoId: string, origin: Origin) {
      dayLimits.inc({ cpo: cpoLabel(cpoId) });
      log.warn('a CPO has used up its incorrect codes of 24 hours: see scsp cpo limits', {
        cpo_id: cpoId,
        ...originFields(origin),
      });
    },
    stationUnpaired(by: 'app' | 'cpo', pairingId: string, cpoId: string, origin: Origin | undefined) {
      unpairings.inc({ by });
      log.info('station unpaired', {
        role: by,
        pairing_id: pairingId,
        cpo_id: cpoId,
        ...optionalOriginFields(origin),
      });
    },
    userForgotten(fields: { user_hash: string; pairings: number }, origin: Origin | undefined) {
      forgotten.inc();
      log.info('user forgotten', {
        user_hash: fields.user_hash,
        count: fields.pairings,
        ...optionalOriginFields(origin),
      });
    },
    codeIssued(codeId: string, origin: Origin | undefined, cpoId: string | undefined) {
      codes.inc({ event: 'issued' });
      log.info('code issued', { code_id: codeId, cpo_id: cpoId, ...optionalOriginFields(origin) });
    },
    /**
     * Counts a code that an app was issued and that has paired. Its log line is that of the pairing.
     * @param ageMs the time since its issue; undefined if unknown
     */
    codeUsed(ageMs: number | undefined) {
      codes.inc({ event: 'used' });
      // The replica that issued the code may have another clock.
      if (ageMs !== undefined) codeSeconds.observe(Math.max(ageMs, 0) / 1_000);
    },
    codeCancelled(codeId: string, origin: Origin | undefined) {
      codes.inc({ event: 'cancelled' });
      log.info('code cancelled', { code_id: codeId, ...optionalOriginFields(origin) });
    },
    codeExpired(codeId: string, origin: Origin | undefined) {
      codes.inc({ event: 'expired' });
      log.info('code expired', { code_id: codeId, ...optionalOriginFields(origin) });
    },
  };
}
