import type { ObservedRequest } from '../../conformance/client/observed';

/** Recognises uids that were encoded twice in the path of an unpair: decoded once more they are those of stations that were paired. */
export function withDoubleEncoding(requests: readonly ObservedRequest[]): ObservedRequest[] {
  const paired = new Set<string>();
  return requests.map((request) => {
    const { operation, uid, answer } = request;
    if (operation === 'pair' && uid !== undefined && answer?.status === 200) paired.add(uid.toLowerCase());
    if (operation !== 'unpair' || uid === undefined || !uid.includes('%') || paired.has(uid.toLowerCase()))
      return request;
    const decoded = decode(uid);
    return paired.has(decoded.toLowerCase()) ? { ...request, uid: decoded, uidEncoding: 'twice' } : request;
  });
}

function decode(uid: string): string {
  try {
    return decodeURIComponent(uid);
  } catch {
    return uid;
  }
}
