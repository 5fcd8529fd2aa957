/** Types of `realtime.js`. */

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

export class Refused extends Error {
  constructor(code: string, detail: string, errors?: Problem[]);
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
  retryNow(): void;
  close(): void;
  tell(frame: AnyFrame): boolean;
  ask<Answer extends AnyFrame = AnyFrame>(
    frame: AnyFrame,
    options?: { id?: string; timeout?: number },
  ): Promise<Answer>;
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
