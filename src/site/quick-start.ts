import type { Config } from '../config';
import { type Html, html } from './html';
import { code } from './layout';

/** A station as JSON, for commands. */
export const stationExample = (uid: string) => `{"uid": "${uid}", "evses": [{"evse_id": 1, "connectors": [
    {"id": "1", "power_type": "AC_3_PHASE", "max_voltage": 230, "max_amperage": 16}]}]}`;

/** The way to a first success, in commands for this server. */
export function quickStart(config: Config, server: string): Html {
  return config.sandbox ? sandboxStart(server) : productionStart(server);
}

function sandboxStart(server: string): Html {
  return html`<p>This is a sandbox: you need no account. Paste these into a terminal; they use <code>curl</code> only.
Or <a href="sandbox">create a CPO on a page</a>, which writes your token into the commands.</p>
<ol class="steps">
<li><h3>Create a CPO</h3>
<p>You get a token that works for 30 days. It is shown only once.</p>
${code(`URL=${server}
CPO=$(curl -s $URL/v1/sandbox/cpos -H 'Content-Type: application/json' -d '{"name": "My CPO"}'); echo "$CPO"
TOKEN=$(echo "$CPO" | sed 's/.*"token": *"\\([^"]*\\)".*/\\1/')`)}</li>
<li><h3>Pair a station</h3>
<p>The test code <code>100000</code> stands for a code that a customer has typed.</p>
${code(`curl -s $URL/v1/scsp/ocpp2.0.1/pair -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \\
  -H "Idempotency-Key: first-station-$(date +%s%N)" \\
  -d '{"code": "100000", "charging_station": ${stationExample('first-station')}}'`)}</li>
<li><h3>Unpair it</h3>
${code(`curl -s -X POST $URL/v1/scsp/chargingstations/first-station/unpair -H "Authorization: Bearer $TOKEN"`)}</li>
<li><h3>Let us call you</h3>
<p>The other direction: you issue the codes. Start the <a href="guides/cpo#an-endpoint-to-begin-with">endpoint to begin with</a>,
<a href="guides/sandbox#let-the-sandbox-call-your-backend">say where it is</a>, and have a code of yours redeemed.</p></li>
<li><h3>Check both halves</h3>
<p><a href="guides/sandbox#certify-your-backend">One request</a>, or a button of <a href="sandbox">your sandbox</a>, checks your
endpoint. Your caller is judged by what it sends here. Each of the <a href="guides/conformance#the-checks">checks</a> says what is
wrong and what to do.</p></li>
</ol>
<p>Sign in to <a href="sandbox">your sandbox</a> with the token to see what arrived. The <a href="guides/sandbox">sandbox guide</a> has all test codes.</p>`;
}

function productionStart(server: string): Html {
  return html`<p>You need a token from the operator of this server. To try things out without one, run the
<a href="guides/sandbox">sandbox</a> on your machine.</p>
<ol class="steps">
<li><h3>Enter your token</h3>
<p>Paste this line, press Enter, then paste the token and press Enter again. The token is not shown and not kept in the history.</p>
${code('read -rs TOKEN')}</li>
<li><h3>Check it</h3>
<p>A CPO sees who it is and what remains of its limits:</p>
${code(`curl -s ${server}/v1/scsp/me -H "Authorization: Bearer $TOKEN"`)}
<p>An app sees the CPOs that its customers can choose from:</p>
${code(`curl -s ${server}/v1/app/cpos -H "Authorization: Bearer $TOKEN"`)}</li>
<li><h3>Pair a station</h3>
<p>As a CPO, with the code that a customer has typed. This one is incorrect, so the answer is a friendly 404:</p>
${code(`curl -s ${server}/v1/scsp/ocpp2.0.1/pair -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \\
  -H "Idempotency-Key: first-station-$(date +%s%N)" \\
  -d '{"code": "000000", "charging_station": ${stationExample('first-station')}}'`)}</li>
</ol>`;
}
