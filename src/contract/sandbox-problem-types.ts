/** Lists the problem types that only a sandbox deployment has, as `problem-types.ts` lists all. */
export const sandboxProblems = {
  'form-refused': [
    403,
    'Form refused',
    'This form was not sent from a page of this server.',
    'Open /sandbox again, sign in with your token if it asks for it, and send the form from there.',
  ],
  'certification-running': [
    409,
    'Certification running',
    'A run of the checks of your endpoint is not finished yet.',
    'Wait for the run: GET /v1/scsp/certification/runs/{id}?wait=30. It ends within two minutes.',
  ],
  'too-many-sandbox-cpos': [
    429,
    'Too many sandbox CPOs',
    'Too many CPOs were created from this address within an hour.',
    'Use the CPO that you have: its token is valid for 30 days. Or wait as many seconds as the Retry-After header says.',
  ],
} as const;
