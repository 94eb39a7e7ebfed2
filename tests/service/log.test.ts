import { recordedLog } from '../harness/harness';

test('a line of the log has the fields that are listed and no others, whatever it is given', async () => {
  const { log, waitFor } = recordedLog();
  const given = { request_id: 'r', code: '362821', authorization: 'Bearer x', body: { code: '362821' } };
  log.info('hello', given);
  expect(await waitFor(({ message }) => message === 'hello')).toEqual({
    timestamp: expect.any(String),
    level: 'info',
    message: 'hello',
    request_id: 'r',
  });
});
