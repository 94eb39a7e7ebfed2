import { Pairing1764000000001 } from './001-pairing';
import { OtherHalf1764000000002 } from './002-other-half';
import { NobodyGetsIn1764000000003 } from './003-nobody-gets-in';
import { Housekeeping1764000000004 } from './004-housekeeping';
import { Growth1764000000005 } from './005-growth';
import { CountRedemptionsByKeyedHash1764000000006 } from './006-count-redemptions-by-keyed-hash';
import { NotificationsOfTheirOwn1764000000007 } from './007-notifications-of-their-own';
import { EraseInBatches1764000000008 } from './008-erase-in-batches';
import { FunctionsWithSchema1764000000009 } from './009-functions-with-schema';
import { ReconcileAndOperate1764000000010 } from './010-reconcile-and-operate';
import { IssueCodesInSql1764000000011 } from './011-issue-codes-in-sql';
import { PairInSql1764000000012 } from './012-pair-in-sql';
import { FunctionsOf0201764000000013 } from './013-functions-of-0-2-0';
import { OrderEvents1764000000014 } from './014-order-events';
import { Webhooks1764000000015 } from './015-webhooks';
import { RecordCalls1764000000016 } from './016-record-calls';
import { ClaimDeliveriesInSql1764000000017 } from './017-claim-deliveries-in-sql';
import { NoticeRestoredTables1764000000018 } from './018-notice-restored-tables';
import { SelfServiceCpos1764000000019 } from './019-self-service-cpos';
import { CertifyCpos1764000000020 } from './020-certify-cpos';
import { Replicas1764000000021 } from './021-replicas';
import { RemoveEndedPairings1764000000022 } from './022-remove-ended-pairings';
import { TraceEvents1764000000023 } from './023-trace-events';
import { PairInFewerStatements1764000000024 } from './024-pair-in-fewer-statements';
import { NarrowPartialIndexes1764000000025 } from './025-narrow-partial-indexes';
import { PlanWithoutSequentialScans1764000000026 } from './026-plan-without-sequential-scans';

/** Every migration, in order; one that has landed is never edited. */
export const migrations = [
  Pairing1764000000001,
  OtherHalf1764000000002,
  NobodyGetsIn1764000000003,
  Housekeeping1764000000004,
  Growth1764000000005,
  CountRedemptionsByKeyedHash1764000000006,
  NotificationsOfTheirOwn1764000000007,
  EraseInBatches1764000000008,
  FunctionsWithSchema1764000000009,
  ReconcileAndOperate1764000000010,
  IssueCodesInSql1764000000011,
  PairInSql1764000000012,
  FunctionsOf0201764000000013,
  OrderEvents1764000000014,
  Webhooks1764000000015,
  RecordCalls1764000000016,
  ClaimDeliveriesInSql1764000000017,
  NoticeRestoredTables1764000000018,
  SelfServiceCpos1764000000019,
  CertifyCpos1764000000020,
  Replicas1764000000021,
  RemoveEndedPairings1764000000022,
  TraceEvents1764000000023,
  PairInFewerStatements1764000000024,
  NarrowPartialIndexes1764000000025,
  PlanWithoutSequentialScans1764000000026,
];
