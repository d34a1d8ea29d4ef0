/**
 * How parts are queued, watched and repeated. Every worker and everyone who adds a flow must have the same: the check for
 * stalled parts is one key a queue, and whoever sets it says for all when the next one is.
 */
export const FLOW_SETTINGS = {
  /**
   * Milliseconds for which a part belongs to its worker; renewed at half of it by the worker's event loop. A killed worker's
   * part is started again after at most this and `stalledInterval` together.
   */
  lockDuration: 10_000,
  /** Milliseconds between two looks for parts whose worker is gone, and for flows that were stopped. */
  stalledInterval: 5_000,
  /** How often a part may lose its worker. BullMQ's own 1 would fail the flow at the second kill; machines of a spot market go all day. */
  maxStalledCount: 20,
  /** How often a part is tried that fails by itself. Errors about the data are not tried again. */
  attempts: 5,
  /** Milliseconds before the second try; twice that before each further one. */
  backoff: 1_000,
  /** Share of that time that is left to chance, so that parts that failed together do not come back together. */
  jitter: 0.5,
  /** Seconds for which a flow that is done can be asked for. */
  keepDone: 7 * 24 * 3600,
} as const

export type FlowSettings = { readonly [Name in keyof typeof FLOW_SETTINGS]: number }

/** Of the queue, where no other name is given; the last jobs of flows have a queue of their own, of this name and `-finish`. */
export const QUEUE_NAME = 'apr-stream'
