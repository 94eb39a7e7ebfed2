import { type Html, html } from './html';

/** What the service is, in one picture. Its view box is as wide as a small phone. */
export const picture: Html = html`<svg class="picture" viewBox="0 0 360 372" role="img" aria-labelledby="picture-title picture-description">
<title id="picture-title">How a station is paired</title>
<desc id="picture-description">A customer reads a code in the app and types it at the Charge Point Operator. The app gets the code from SCSP pairing, and the operator sends it to SCSP pairing together with the station. SCSP pairing then knows whose station it is, and says so to the app and to the charger-data pipeline.</desc>
<g class="box"><rect x="117" y="2" width="126" height="44" rx="22"/><text x="180" y="29">Customer</text></g>
<g class="box"><rect x="2" y="126" width="126" height="56" rx="8"/><text x="65" y="150">App</text><text class="small" x="65" y="169">of the SCSP</text></g>
<g class="box"><rect x="232" y="126" width="126" height="56" rx="8"/><text x="295" y="150">CPO</text><text class="small" x="295" y="169">has the station</text></g>
<g class="box main"><rect x="90" y="238" width="180" height="56" rx="8"/><text x="180" y="262">SCSP pairing</text><text class="small" x="180" y="281">user – station</text></g>
<g class="box"><rect x="90" y="332" width="180" height="38" rx="8"/><text x="180" y="356">Charger data</text></g>
<g class="arrow"><line x1="84" y1="122" x2="133" y2="54"/><polygon points="137,48 136,58 128,53"/></g>
<g class="arrow"><line x1="223" y1="48" x2="272" y2="116"/><polygon points="276,122 267,117 275,112"/></g>
<g class="arrow"><line x1="118" y1="236" x2="84" y2="192"/><polygon points="79,185 88,190 81,196"/></g>
<g class="arrow"><line x1="281" y1="184" x2="246" y2="230"/><polygon points="242,236 243,226 250,231"/></g>
<g class="arrow"><line x1="180" y1="296" x2="180" y2="324"/><polygon points="180,331 175,322 185,322"/></g>
<text class="label" x="102" y="84" text-anchor="end">reads 362821</text>
<text class="label" x="258" y="84">types 362821</text>
<text class="label" x="92" y="222" text-anchor="end">code, events</text>
<text class="label" x="270" y="222">code + station</text>
<text class="label" x="190" y="318">links</text>
</svg>`;
