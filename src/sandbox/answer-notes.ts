import type { Response } from 'express';
import type { ObservedAnswer } from '../conformance/client/observed';

/** What is unusual about the answer to a test code, on purpose. */
export type AnswerNotes = Pick<ObservedAnswer, 'delayMs' | 'hasOtherMessage' | 'hasNewMembers'> & {
  readonly withheld?: true;
  /** The caller had closed the connection before the answer. */
  readonly abandoned?: true;
};

const notes = new WeakMap<Response, AnswerNotes>();

/** Notes what is unusual about an answer, for those who judge what the caller makes of it. */
export const noteAnswer = (res: Response, note: AnswerNotes): void => void notes.set(res, note);

export const notesOf = (res: Response): AnswerNotes => notes.get(res) ?? {};
