import { html } from './html';
import type { Sequence } from './sequence';

const ACTORS = ['App backend', 'SCSP pairing', 'CPO backend'];
const [APP, SCSP, CPO] = [0, 1, 2];

const scspCode: Sequence = {
  id: 'scsp-code',
  title: 'Pair with a code from the app',
  description:
    'The app backend asks SCSP pairing for a code and follows it. The customer reads the code in the app and types it at the CPO. The CPO backend sends code and station, and is answered 200. The app backend then learns that the code is used.',
  actors: ACTORS,
  steps: [
    { from: APP, to: SCSP, text: 'issue a code', detail: html`<code>POST /v1/app/pairing-codes</code>` },
    { from: SCSP, to: APP, text: '362821', isReply: true, detail: html`201: the code pairs once, for a short time` },
    {
      from: APP,
      to: SCSP,
      text: 'follow it',
      detail: html`<code>GET /v1/app/pairing-codes/{id}?wait=30</code>, a long poll`,
    },
    { text: 'the customer types it at the CPO', detail: html`The customer reads it in the app` },
    {
      from: CPO,
      to: SCSP,
      text: 'code + station',
      detail: html`<code>POST /v1/scsp/{payload-protocol}/pair</code>`,
    },
    { from: SCSP, to: CPO, text: 'paired', isReply: true, detail: html`200 with the station as stored` },
    { from: SCSP, to: APP, text: 'used', isReply: true, detail: html`200: the long poll ends at once` },
  ],
};

const cpoCode: Sequence = {
  id: 'cpo-code',
  title: 'Pair with a code from the CPO',
  description:
    'The customer gets a code from the CPO and types it in the app. The app backend sends it to SCSP pairing, which asks the CPO backend for the station of the code, stores the pairing and answers 201.',
  actors: ACTORS,
  steps: [
    { text: 'the customer types it in the app', detail: html`The CPO has shown them its code` },
    { from: APP, to: SCSP, text: 'redeem', detail: html`<code>POST /v1/app/pairings</code>` },
    {
      from: SCSP,
      to: CPO,
      text: 'whose code?',
      detail: html`<code>POST {base_url}/v1/cpo/{payload-protocol}/pair</code>`,
    },
    { from: CPO, to: SCSP, text: 'station', isReply: true, detail: html`200, or 404 if the code is incorrect` },
    { from: SCSP, to: APP, text: 'paired', isReply: true, detail: html`201 with the pairing` },
  ],
};

const unpair: Sequence = {
  id: 'unpair',
  title: 'Unpair, from either side',
  description:
    'The CPO backend unpairs a station at SCSP pairing, is answered 200, and the app backend gets an event. Or the app backend unpairs it, is answered 200, and SCSP pairing notifies the CPO backend until it answers.',
  actors: ACTORS,
  steps: [
    {
      from: CPO,
      to: SCSP,
      text: 'unpair',
      detail: html`<code>POST /v1/scsp/chargingstations/{uid}/unpair</code>`,
    },
    { from: SCSP, to: CPO, text: 'unpaired', isReply: true, detail: html`200, or 404 if there is nothing to end` },
    { from: SCSP, to: APP, text: 'event', detail: html`<code>station.unpaired</code>, by webhook or feed` },
    { text: 'or the customer ends it in the app', detail: html`The other way round` },
    {
      from: APP,
      to: SCSP,
      text: 'unpair',
      detail: html`<code>POST /v1/app/charging-stations/{uid}/unpair</code>`,
    },
    { from: SCSP, to: APP, text: 'unpaired', isReply: true, detail: html`200: the pairing has ended` },
    {
      from: SCSP,
      to: CPO,
      text: 'unpair',
      detail: html`<code>POST {base_url}/v1/cpo/chargingstations/{uid}/unpair</code>, repeated for days if need be`,
    },
    { from: CPO, to: SCSP, text: 'done', isReply: true, detail: html`Any 2xx, 404 or 410` },
  ],
};

/** The three things that happen to a station. */
export const sequences: readonly Sequence[] = [scspCode, cpoCode, unpair];
