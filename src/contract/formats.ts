/** Defines a custom `format` of openapi.yaml: its check and its error message. */
type Format = { readonly type: 'string'; readonly validate: (text: string) => boolean; readonly message: string };

/** Defines checks that a `pattern` cannot express in the syntax common to RE2, Python and JavaScript without flags. */
export const formats = {
  printable: {
    type: 'string',
    // Control characters are rejected by the accompanying pattern.
    validate: (text) => !/[\p{Cf}\p{Co}\p{Cn}\p{Cs}\p{Zl}\p{Zp}]/u.test(text),
    message: 'must contain only printable characters',
  },
  /** The library's own `uuid` also accepts `urn:uuid:…`, which PostgreSQL rejects. */
  uuid: {
    type: 'string',
    validate: (text) => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text),
    message: 'must be a UUID',
  },
} as const satisfies Record<string, Format>;

/** Returns the error message of a custom format, undefined for JSON Schema's own formats. */
export function formatMessage(name: string): string | undefined {
  const custom: Readonly<Record<string, Format>> = formats;
  return Object.hasOwn(custom, name) ? custom[name]?.message : undefined;
}
