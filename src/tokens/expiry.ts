const DAY_MS = 86_400_000;
const SOON_MS = 30 * DAY_MS;

/** Whether fewer than 30 days are left of a token; `now` in ms since the epoch, by the clock of the database. */
export function expiresSoon(expiresAt: Date, now: number): boolean {
  return expiresAt.getTime() - now < SOON_MS;
}

/** What the owner of a token is told while it expires soon. */
export function expiryWarning(expiresAt: Date, now: number): string | undefined {
  if (!expiresSoon(expiresAt, now)) return undefined;
  const days = Math.floor((expiresAt.getTime() - now) / DAY_MS);
  const left = days < 1 ? 'less than a day' : days === 1 ? '1 day' : `${days} days`;
  return `This token expires in ${left}. Ask Jedlix for a new one: for a while both work.`;
}
