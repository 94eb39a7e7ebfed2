/** HTML that is safe to send: everything put into it was escaped, or was HTML already. */
export type Html = { readonly html: string };

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

/** Tag of a template: values are escaped, except what this tag made. */
export function html(parts: TemplateStringsArray, ...values: (string | number | Html | Html[])[]): Html {
  return { html: String.raw({ raw: parts }, ...values.map(text)) };
}

function text(value: string | number | Html | Html[]): string {
  if (Array.isArray(value)) return value.map(text).join('');
  if (typeof value === 'object') return value.html;
  return String(value).replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '');
}
