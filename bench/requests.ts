/** The station that every pairing stores: two EVSEs and three connectors. */
export const station = (uid: string) => ({
  uid,
  evses: [
    {
      evse_id: 1,
      capabilities: ['CHARGING_PROFILE_CAPABLE'],
      connectors: [{ id: '1', power_type: 'AC_3_PHASE', max_voltage: 220, max_amperage: 16 }],
    },
    {
      evse_id: 2,
      capabilities: ['CHARGING_PROFILE_CAPABLE'],
      connectors: [
        { id: '1', power_type: 'AC_3_PHASE', max_voltage: 220, max_amperage: 16 },
        { id: '2', power_type: 'AC_1_PHASE', max_voltage: 220, max_amperage: 16 },
      ],
    },
  ],
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
