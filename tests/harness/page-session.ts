import type { Answer, Harness } from './harness';

export type PageSession = {
  readonly cookie: string;
  readonly formToken: string;
  /** Sends a form of the page as a browser does. */
  post(action: string, fields?: Record<string, string>, headers?: Record<string, string>): Promise<Answer>;
  get(path?: string): Promise<Answer>;
};

export const FORM = 'application/x-www-form-urlencoded';

/** Sends a form of nobody in particular from a page of the service. */
export function postForm(
  service: Harness,
  path: string,
  fields: Record<string, string>,
  headers: Record<string, string> = {},
): Promise<Answer> {
  return service.request('POST', path, {
    raw: new URLSearchParams(fields).toString(),
    headers: { 'Content-Type': FORM, Accept: 'text/html', Origin: service.url, ...headers },
  });
}

/** Signs in on the page of a sandbox with the token of a CPO. */
export async function signInOnPage(service: Harness, token: string): Promise<PageSession> {
  const answer = await postForm(service, '/sandbox/session', { token });
  const cookie = answer.headers.getSetCookie()[0]?.split(';')[0] ?? '';
  const get = (path = '/sandbox') => service.request('GET', path, { headers: { Accept: 'text/html', Cookie: cookie } });
  const formToken = /name="form_token" value="([^"]+)"/.exec((await get()).body)?.[1] ?? '';
  return {
    cookie,
    formToken,
    get,
    post: (action, fields = {}, headers = {}) =>
      postForm(service, `/sandbox/${action}`, { form_token: formToken, ...fields }, { Cookie: cookie, ...headers }),
  };
}
