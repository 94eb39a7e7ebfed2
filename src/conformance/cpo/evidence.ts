import type { Evidence } from '../check';
import type { Exchange, Sent } from './exchange';
import type { Mask } from './secrets';

/** How much of a response the evidence contains, in characters. */
export const SHOWN_LIMIT = 2_000;
/** How much of a request the evidence contains. */
const REQUEST_LIMIT = 4_000;
/** How much of a header of a response the evidence contains. */
const HEADER_LIMIT = 200;

/** Headers that a caller needs in order to repeat a request. */
const SHOWN_REQUEST_HEADERS = /^(authorization|content-type|x-(?!request-id).*)$/;
const SHOWN_RESPONSE_HEADERS = [
  'content-type',
  'content-encoding',
  'content-length',
  'www-authenticate',
  'allow',
  'location',
  'retry-after',
];

/** Replaces control and invisible characters: they must not reach a terminal. Line feeds and tabs stay. */
export const printable = (text: string): string => text.replace(/[^\P{C}\n\t]/gu, '\ufffd');

/** Creates the evidence for a verdict from a request and its response. Secrets are masked before anything is cut off. */
export function evidenceOf(mask: Mask, note: string, exchange: Exchange | undefined, jsonOnly: boolean): Evidence {
  return {
    ...(exchange && {
      request: cut(printable(withoutEmptyQuotes(mask.all(curlOf(exchange.sent), true))), REQUEST_LIMIT),
    }),
    ...(exchange?.answer && { response: cut(printable(responseOf(mask, exchange, jsonOnly)), SHOWN_LIMIT) }),
    note: printable(mask.all(note)),
  };
}

const cut = (text: string, limit: number) =>
  text.length > limit ? `${text.slice(0, limit - 1).toWellFormed()}…` : text;

function curlOf({ method, url, headers, body }: Sent): string {
  const shown = Object.entries(headers).filter(([name]) => SHOWN_REQUEST_HEADERS.test(name));
  return [
    `curl -i -X ${method} ${quote(url)}`,
    ...shown.map(([name, value]) => `-H ${quote(`${name}: ${value}`)}`),
    ...(body === undefined ? [] : [`-d ${quote(escapeInvisible(body))}`]),
  ].join(' ');
}

/** Removes the quotes that a variable at the end of a quoted text leaves. */
const withoutEmptyQuotes = (command: string) => command.replace(/("\$(?:MY_TOKEN|CODE)")''/g, '$1');

const quote = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;

/** Writes characters that a terminal does not show as JSON escapes, which mean the same. */
const escapeInvisible = (json: string) =>
  json.replace(/[^\P{C}\n]/gu, (character) =>
    [...Array(character.length).keys()]
      .map((at) => `\\u${character.charCodeAt(at).toString(16).padStart(4, '0')}`)
      .join(''),
  );

const JSON_TYPE = /^application\/([\w.+-]+\+)?json\b/i;

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function responseOf(mask: Mask, { answer, durationMs }: Exchange, jsonOnly: boolean): string {
  if (answer === undefined) return '';
  const { status, headers, bytes } = answer;
  const lines = SHOWN_RESPONSE_HEADERS.flatMap((name) =>
    headers[name] === undefined ? [] : [`${name}: ${cut(mask.start(String(headers[name])), HEADER_LIMIT)}`],
  );
  const text = bytes.toString('utf8');
  const hidden = jsonOnly && !(JSON_TYPE.test(String(headers['content-type'] ?? '')) && isJson(text));
  const body = hidden ? '(a body that is not JSON is not shown)' : mask.start(text);
  return [`HTTP ${status} after ${durationMs} ms`, ...lines, ...(bytes.length === 0 ? [] : ['', body])].join('\n');
}
