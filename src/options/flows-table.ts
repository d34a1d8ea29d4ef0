/** Options of flows in a queue. */
import { nothing } from './answers.js'
import { callback, TEXT, wholeNumber, type OptionRow } from './check.js'
import { Q4K_OPTIONS } from './table.js'

export const FLOW_OPTIONS = {
  queue: {
    kind: TEXT,
    default: 'apr-stream',
    meaning: 'name of the queue, the same for flows and for workers',
  },
} as const satisfies Record<string, OptionRow>

export const WORKERS_OPTIONS = {
  queue: FLOW_OPTIONS.queue,
  concurrency: {
    kind: wholeNumber('parts'),
    default: 1,
    meaning: 'parts under way at once in this process; each has threads of its own',
  },
  threads: Q4K_OPTIONS.threads,
  onEvent: {
    kind: callback('function', nothing),
    derived: 'none',
    meaning: 'is told of parts that are begun, done or failed, and of trouble with the connection',
  },
} as const satisfies Record<string, OptionRow>

export const FLOW_PAGE_OPTIONS = {
  queue: FLOW_OPTIONS.queue,
  host: {
    kind: TEXT,
    default: '127.0.0.1',
    meaning: 'address to listen at: only this machine sees the page where nothing else is said',
  },
  port: {
    kind: wholeNumber('', 0),
    default: 7878,
    meaning: 'port to listen at; 0 takes a free one',
  },
} as const satisfies Record<string, OptionRow>
