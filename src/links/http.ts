import { NIL } from 'uuid';
import type { Context } from '../context';
import type { Handlers, Schemas } from '../contract/document';
import { lastPosition } from '../events/events';
import { invalid, readInstant } from '../http/invalid';
import { invalidCursor, readCursor, readPage } from '../http/pagination';
import { type Link, type LinkQuestion, type LinkRange, linkAt, listLinks, resolveLinks } from './links';

const DEFAULT_LIMIT = 100;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

export function linkHandlers(ctx: Context): Pick<Handlers, 'getLinks' | 'resolveLinks'> {
  return {
    async getLinks(req, res) {
      const { uid, cpo_id, at, cursor, limit = DEFAULT_LIMIT } = req.query;
      if (uid !== undefined) {
        if (cpo_id === undefined) throw invalid('/cpo_id', 'must be sent with uid');
        res.json(writeLink(await linkAt(ctx.db, readQuestion({ uid, cpo_id, at }))));
        return;
      }
      if (at !== undefined) throw invalid('/uid', 'must be sent with at');
      const cpoId = cpo_id?.toLowerCase();
      const begin = cursor === undefined ? await beginSnapshot(ctx, cpoId) : placeIn(readCursor(cursor));
      if (begin.cpoId !== cpoId) throw invalidCursor();
      const page = await readPage(
        { limit },
        keyOf(begin),
        (last: Link) => keyOf({ ...begin, after: last }),
        (key, count) => listLinks(ctx.db, placeIn(key), count),
        writeLink,
      );
      res.json({ ...page, as_of: begin.asOf });
    },

    async resolveLinks(req, res) {
      const questions = req.body.links.map((question, n) => readQuestion(question, `/links/${n}`));
      const links = await resolveLinks(ctx.db, questions);
      res.json({ links: links.map((link) => link && writeLink(link)) });
    },
  };
}

/** @throws Problem `invalid-request` */
function readQuestion({ uid, cpo_id, at }: Schemas['LinkQuestion'], pointer = ''): LinkQuestion {
  return { uid, cpoId: cpo_id, at: at && readInstant(at, `${pointer}/at`) };
}

/** A place in a snapshot, which its cursor holds. */
type Place = LinkRange & {
  /** The position in the events that was read before the first page. */
  readonly asOf: string;
};

async function beginSnapshot(ctx: Context, cpoId: string | undefined): Promise<Place> {
  const asOf = await lastPosition(ctx.db);
  return { asOf, cpoId, after: { cpoId: NIL, pairingId: NIL } };
}

const EVERY_CPO = '*';

const keyOf = ({ asOf, cpoId, after }: Place) => [asOf, cpoId ?? EVERY_CPO, after.cpoId, after.pairingId].join(' ');

/** @throws Problem `invalid-request` */
function placeIn(key: string): Place {
  const [asOf = '', of = '', cpoId = '', pairingId = '', ...rest] = key.split(' ');
  const isPlace =
    /^\d{1,18}$/.test(asOf) && (of === EVERY_CPO || UUID.test(of)) && UUID.test(cpoId) && UUID.test(pairingId);
  if (!isPlace || rest.length > 0) throw invalidCursor();
  return { asOf, cpoId: of === EVERY_CPO ? undefined : of, after: { cpoId, pairingId } };
}

function writeLink(link: Link): Schemas['Link'] {
  return {
    pairing_id: link.pairingId,
    uid: link.uid,
    cpo_id: link.cpoId,
    payload_protocol: link.payloadProtocol,
    user_id: link.userId,
    charging_location_id: link.chargingLocationId,
    paired_at: link.pairedAt.toISOString(),
    unpaired_at: link.unpairedAt?.toISOString(),
  };
}
