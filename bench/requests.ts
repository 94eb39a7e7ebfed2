const connector = (id: string, power_type: string) => ({ id, power_type, max_voltage: 220, max_amperage: 16 });

/** The station that every pairing stores: two EVSEs and three connectors. */
export const station = (uid: string) => ({
  uid,
  evses: [
    { evse_id: 1, connectors: [connector('1', 'AC_3_PHASE')] },
    { evse_id: 2, connectors: [connector('1', 'AC_3_PHASE'), connector('2', 'AC_1_PHASE')] },
  ].map((evse) => ({ ...evse, capabilities: ['CHARGING_PROFILE_CAPABLE'] })),
});

/** Returns a uid that no station has yet. They come in no order, as those of real stations do. */
export const freshUid = () => crypto.randomUUID().replaceAll('-', '').slice(0, 24);

/** Returns an HTTP request as text; the load generator sends it unchanged. */
export function httpRequest(method: string, path: string, token: string, body?: object): string {
  const json = body === undefined ? '' : JSON.stringify(body);
  const content = `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(json)}\r\n`;
  const head = `${method} ${path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${token}\r\n`;
  return `${head}${body === undefined ? '' : content}\r\n${json}`;
}

export function pairRequest(token: string, code: string, uid = freshUid()): string {
  return httpRequest('POST', '/v1/scsp/ocpp2.0.1/pair', token, { code, charging_station: station(uid) });
}
