/**
 * Types of `realtime.js`, and what goes over the wire: JSON objects with a `type`.
 *
 *   welcome                                   the server's first frame: from then on the line is open;
 *                                             `expires_in` are the seconds that the session lasts
 *   id in a frame of ours, reply_to in its    a question and its answer; `type: "error"` refuses, with a
 *   answer                                    `code` for programs and a `detail` for people
 *   join {group, since, history} -> joined    `since` is the last position that we have, "" for none that
 *   {complete, position, events}              the server knows, absent when we are new
 *   leave {group}, ping                       -> any answer
 *   group, and mostly position, in a frame    an event of that group
 *   incomplete {group}                        events may be missing: the group, or all, is joined again
 *   renew {...} -> {expires_in}               what `renew()` gave, and how long the session lasts now
 */

/** What a frame has in any case; `python -m fast_channels types` writes the types of the app's own. */
export interface AnyFrame {
  type: string;
  [field: string]: unknown;
}

export type State = "closed" | "connecting" | "open" | "waiting";

/** All times in milliseconds. */
export interface Options {
  /** The shortest and the longest pause before an attempt: 500 and 15,000. */
  minDelay?: number;
  maxDelay?: number;
  /** How long an attempt may take until the welcome: 10,000. */
  openTimeout?: number;
  /** How long an answer may take: 10,000. */
  askTimeout?: number;
  /** Close codes after which there is no further attempt. */
  fatalCodes?: number[];
  /** Gives the fields of a `renew` frame, such as a new token, before the session expires. */
  renew?: (() => Promise<Record<string, unknown>>) | null;
  WebSocket?: typeof WebSocket;
}

/** Why a question has no answer. */
export class Refused extends Error {
  constructor(code: string, detail: string, errors?: Problem[]);
  /** The server's, or "timeout", "offline" or "lost". */
  code: string;
  errors: Problem[];
}

export interface Problem {
  loc: (string | number)[];
  msg: string;
  type: string;
}

export interface RealtimeEvents {
  /** `retryAt`: ms since the epoch while waiting, else null. */
  state: CustomEvent<{ state: State; retryAt: number | null }>;
  /** A frame that neither answers nor belongs to a group. */
  frame: CustomEvent<AnyFrame>;
  /** The server closed with one of `fatalCodes`. */
  refused: CustomEvent<{ code: number; reason: string }>;
  /** The session could not be renewed; it is tried again. */
  unrenewed: CustomEvent<unknown>;
}

export interface GroupEvents<Event> {
  /**
   * `returning`: joined again, by a position; `events` are then what was missed, if `complete`, else the
   * last ones, and something may be missing. What else the server's answer holds is there, too.
   */
  joined: CustomEvent<AnyFrame & { complete: boolean; position: string; events: Event[]; returning: boolean }>;
  event: CustomEvent<Event>;
  refused: CustomEvent<Refused>;
}

export class Realtime extends EventTarget {
  constructor(url: string | URL, options?: Options);
  readonly state: State;
  connect(): void;
  /** Skips the pause before the next attempt; does nothing in any other state. */
  retryNow(): void;
  close(): void;
  /** Hands a frame to the browser. False while there is no open line: it was neither sent nor kept. */
  tell(frame: AnyFrame): boolean;
  /**
   * The answer to a frame; `Refused` if there is none. One that does not come within the time means a dead
   * line: it is made anew. `id` may be the caller's own, of letters, digits, - and _.
   */
  ask<Answer extends AnyFrame = AnyFrame>(
    frame: AnyFrame,
    options?: { id?: string; timeout?: number },
  ): Promise<Answer>;
  /** The group of this name, joined from now on whenever there is a line. */
  join<Event extends AnyFrame = AnyFrame>(
    name: string,
    options?: { history?: number; since?: string | null },
  ): Group<Event>;
  addEventListener<Name extends keyof RealtimeEvents>(
    type: Name,
    listener: (event: RealtimeEvents[Name]) => void,
    options?: AddEventListenerOptions,
  ): void;
}

export interface Group<Event extends AnyFrame = AnyFrame> extends EventTarget {
  readonly name: string;
  /** Of the last event that was handed out; null before the first joining. */
  readonly position: string | null;
  readonly joined: boolean;
  leave(): void;
  addEventListener<Name extends keyof GroupEvents<Event>>(
    type: Name,
    listener: (event: GroupEvents<Event>[Name]) => void,
    options?: AddEventListenerOptions,
  ): void;
}
