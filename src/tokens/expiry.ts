const DAY_MS = 86_400_000;
const SOON_MS = 30 * DAY_MS;

/** Returns whether a token expires in less than 30 days. `now` is the database's time in ms since the epoch. */
export function expiresSoon(expiresAt: Date, now: number): boolean {
  return expiresAt.getTime() - now < SOON_MS;
}

/** Returns the warning for the owner of a token that expires soon, otherwise undefined. */
export function expiryWarning(expiresAt: Date, now: number): string | undefined {
  if (!expiresSoon(expiresAt, now)) return undefined;
  const days = Math.floor((expiresAt.getTime() - now) / DAY_MS);
  const remaining = days < 1 ? 'less than a day' : days === 1 ? '1 day' : `${days} days`;
  return `This token expires in ${remaining}. Replace it with POST /v1/scsp/tokens/rotate, unless you have already.`;
}
