import { Circuits } from '../../src/outbound/circuit';
import { Problem } from '../../src/problems';

const CPO = 'a CPO';
let now: number;
let told: string[];
let circuits: Circuits;
beforeEach(() => {
  now = 1_000;
  told = [];
  const events = { circuitOpened: () => told.push('opened'), circuitClosed: () => told.push('closed') };
  circuits = new Circuits(events, () => now);
});

const fail = (user: string) => circuits.enter(CPO, user)('failed');
const open = () => ['a', 'b', 'c', 'a', 'b', 'c', 'a', 'b', 'c', 'a'].forEach(fail);
const refusal = () => {
  try {
    circuits.enter(CPO, 'x')('unknown');
    return undefined;
  } catch (error) {
    if (error instanceof Problem) return error.headers['Retry-After'];
    throw error;
  }
};

test('ten failures in a row of three users open it for 30 s', () => {
  open();
  expect([told, refusal(), circuits.open()]).toEqual([['opened'], '30', [CPO]]);
  now += 29_000;
  expect(refusal()).toBe('1');
  now += 1_000;
  expect([refusal(), circuits.open()]).toEqual([undefined, []]);
});

test('its age is that of its first opening, until it closes', () => {
  expect(circuits.ages()).toEqual([]);
  open();
  now += 30_000;
  circuits.enter(CPO, 'x')('failed');
  expect(circuits.ages()).toEqual([{ target: CPO, ms: 30_000 }]);
  now += 40_000;
  expect([circuits.open(), circuits.ages()]).toEqual([[], [{ target: CPO, ms: 70_000 }]]);
  circuits.enter(CPO, 'x')('answered');
  expect(circuits.ages()).toEqual([]);
});

test('it closes by itself when nobody has called for ten minutes', () => {
  open();
  now += 600_000;
  expect(circuits.ages()).toHaveLength(1);
  now += 1;
  expect([circuits.ages(), told]).toEqual([[], ['opened', 'closed']]);
});

test('a hundred failures of two users do not, nor do nine of three', () => {
  for (let i = 0; i < 50; i++) ['a', 'b'].forEach(fail);
  circuits.enter(CPO, 'c')('answered');
  for (let i = 0; i < 3; i++) ['a', 'b', 'c'].forEach(fail);
  expect([told, refusal()]).toEqual([[], undefined]);
});

test('an answer in between ends the row, a call that says nothing does not', () => {
  for (let i = 0; i < 3; i++) ['a', 'b', 'c'].forEach(fail);
  circuits.enter(CPO, 'd')('unknown');
  circuits.enter(CPO, 'd')('answered');
  fail('d');
  expect(told).toEqual([]);
  for (let i = 0; i < 3; i++) ['a', 'b', 'c'].forEach(fail);
  expect(told).toEqual(['opened']);
});

test('after 30 s one call is let through, and decides', () => {
  open();
  now += 30_000;
  const leave = circuits.enter(CPO, 'x');
  expect([refusal(), circuits.open()]).toEqual(['1', [CPO]]);
  leave('failed');
  expect(refusal()).toBe('30');
  now += 30_000;
  circuits.enter(CPO, 'x')('unknown');
  circuits.enter(CPO, 'x')('answered');
  expect([refusal(), told]).toEqual([undefined, ['opened', 'closed']]);
});

test('calls that were in flight when it opened do not keep it open longer, and one that is answered closes it', () => {
  const [late, answered] = [circuits.enter(CPO, 'y'), circuits.enter(CPO, 'z')];
  open();
  now += 20_000;
  late('failed');
  expect(refusal()).toBe('10');
  answered('answered');
  expect([refusal(), told]).toEqual([undefined, ['opened', 'closed']]);
});
