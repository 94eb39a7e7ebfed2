import { IncomingMessage, ServerResponse } from 'node:http';
import { startHarness } from './harness';

test('Express finds requests and responses of its own, and changes the prototype of none', async () => {
  const service = await startHarness();
  const setPrototypeOf = Object.setPrototypeOf;
  const changed: boolean[] = [];
  const spy = jest.spyOn(Object, 'setPrototypeOf').mockImplementation((object, prototype) => {
    if (object instanceof IncomingMessage || object instanceof ServerResponse)
      changed.push(Object.getPrototypeOf(object) !== prototype);
    return setPrototypeOf(object, prototype);
  });
  try {
    expect((await service.request('GET', '/live')).status).toBe(200);
    expect(changed.length).toBeGreaterThan(0);
    expect(changed).not.toContain(true);
  } finally {
    spy.mockRestore();
    await service.stop();
  }
});
