import type { Context } from '../context';

/** RFC 9116, 2.5.5 recommends less than a year. */
const LIFE_MS = 364 * 86_400_000;

/** Writes security.txt (RFC 9116). The web addresses in it must be HTTPS. */
export function securityTxt({ config: { publicUrl, securityContact }, listener }: Context): string {
  const expires = new Date(listener.now() + LIFE_MS).toISOString();
  const lines = [`Contact: ${securityContact}`, `Expires: ${expires}`, 'Preferred-Languages: en'];
  if (publicUrl?.startsWith('https:'))
    lines.push(`Canonical: ${publicUrl}/.well-known/security.txt`, `Policy: ${publicUrl}/#security`);
  return `${lines.join('\n')}\n`;
}
