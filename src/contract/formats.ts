/** What a `format` of openapi.yaml checks beyond those of JSON Schema, and its meaning in words. */
type Format = { readonly type: 'string'; readonly validate: (text: string) => boolean; readonly words: string };

/** Checks that a `pattern` cannot state in a way that RE2, Python and JavaScript without flags share. */
export const formats = {
  printable: {
    type: 'string',
    // The pattern beside it refuses control characters.
    validate: (text) => !/[\p{Cf}\p{Co}\p{Cn}\p{Cs}\p{Zl}\p{Zp}]/u.test(text),
    words: 'must be printable characters',
  },
} as const satisfies Record<string, Format>;

/** The meaning of a format in words, undefined for those of JSON Schema. */
export function formatWords(name: string): string | undefined {
  const own: Readonly<Record<string, Format>> = formats;
  return Object.hasOwn(own, name) ? own[name]?.words : undefined;
}
