/** A change of content. */
export interface Invalidation {
  /** Tag patterns: each `*` stands for any run of characters. */
  tags: string[];
  /** Position of the change, opaque. */
  revision: string;
  /** `hard`: the old content may not be used again. */
  mode: "soft" | "hard";
  /** The time, in milliseconds, over which browsers spread their refetches. The
   *  handler is called after a random part of it. */
  spread_ms: number;
  /** W3C `traceparent` of the call that caused it. */
  trace?: string;
  /** Like the global `fetch`, for the same origin as the events: the answer is not
   *  older than this change, and belongs to its trace. */
  fetch: typeof fetch;
}

/** URLs that will likely be wanted next. */
export interface Preload {
  /** Paths with an optional query. */
  urls: string[];
  revision: string;
  trace?: string;
}

/** Something was missed: anything may have changed. */
export interface Reset {
  /** Why, such as `below-floor`. */
  reason: string;
  revision: string;
  fetch: typeof fetch;
}

/** An event of an own type. */
export interface PublishedEvent {
  data: string;
  revision: string;
  trace?: string;
}

export interface Connected {
  /** The position from which events are heard, opaque. */
  cursor: string;
  /** Seconds between heartbeats. */
  heartbeat: number;
  /** Default time over which browsers spread their refetches, in milliseconds. */
  spread_ms: number;
}

export interface Options {
  /** Where to listen. Default: `/_tidegate/events` of this origin. */
  url?: string;
  /** Tag patterns, at most 64. Default: everything that the caller may hear. */
  interests?: string[];
  /** Resume from here; see {@link Client.lastEventId}. */
  lastEventId?: string;
  onConnected?(connected: Connected): unknown;
  onInvalidate?(invalidation: Invalidation): unknown;
  onPreload?(preload: Preload): unknown;
  onReset?(reset: Reset): unknown;
  /** Handlers by event type, for the types that backends publish. */
  on?: Record<string, (event: PublishedEvent) => unknown>;
  /** For tests and for environments without one. */
  EventSource?: typeof EventSource;
  fetch?: typeof fetch;
}

export interface Client {
  /** Like the global `fetch`; for the same origin as the events, the answer is not
   *  older than the newest change that was heard of. */
  fetch: typeof fetch;
  /** The last position heard, to resume from later. */
  readonly lastEventId: string;
  /** Stops listening; no handler is called any more. */
  close(): void;
}

/** Starts listening. It comes back by itself from lost connections and refusals,
 *  and calls no handler twice for one event. */
export declare function connect(options?: Options): Client;
