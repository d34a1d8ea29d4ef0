import type * as BullMQ from 'bullmq'
import { AprError } from '../model/errors.js'

/**
 * Where the queue is: a URL (`redis://`, `rediss://`, `postgres://` or `postgresql://`; Valkey is reached as Redis), or what
 * BullMQ takes as `connection`: options of ioredis or a client of it, options of pg or a pool of it.
 */
export type QueueConnection = string | { readonly redis: object } | { readonly postgres: object }

/** What the classes of BullMQ are made with. */
export interface Backend {
  readonly bullmq: typeof BullMQ
  readonly connection: object
  readonly factory: BullMQ.BackendFactory<BullMQ.IQueueBackend, unknown> | undefined
}

/**
 * Loads BullMQ and the driver, and connects to nothing yet.
 * @throws AprError `APR_BAD_OPTION` for what is no connection, `APR_UNSUPPORTED` where BullMQ or the driver is not installed.
 *   Neither message holds the URL: it may have a password.
 */
export async function openBackend(connection: QueueConnection): Promise<Backend> {
  const { kind, options, driver } = read(connection)
  const bullmq = (await load('bullmq')) as typeof BullMQ
  if (driver) await load(kind === 'redis' ? 'ioredis' : 'pg')
  if (kind === 'redis') return { bullmq, connection: options, factory: undefined }
  const factory = bullmq.createPostgresBackend as unknown as NonNullable<Backend['factory']>
  return { bullmq, connection: options, factory }
}

function read(connection: QueueConnection): { kind: 'redis' | 'postgres'; options: object; driver: boolean } {
  if (typeof connection === 'string') {
    const scheme = /^(?:(rediss?)|(postgres(?:ql)?)):\/\/./.exec(connection)
    if (scheme && URL.canParse(connection)) {
      if (scheme[1] !== undefined) return { kind: 'redis', options: { url: connection }, driver: true }
      // The tables are made by whoever comes first.
      return { kind: 'postgres', options: { connectionString: connection, migrate: true }, driver: true }
    }
  } else if (isObject(connection)) {
    if ('redis' in connection && isObject(connection.redis))
      return { kind: 'redis', options: connection.redis, driver: false }
    if ('postgres' in connection && isObject(connection.postgres))
      return { kind: 'postgres', options: connection.postgres, driver: false }
  }
  throw new AprError(
    'APR_BAD_OPTION',
    '`connection`: expected a URL that starts with redis://, rediss:// or postgres://, or an object with `redis` or `postgres`',
  )
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}

/** By a name that no bundler sees: who has no queues has not installed it. */
async function load(name: string): Promise<unknown> {
  try {
    return await import(name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error
    throw new AprError('APR_UNSUPPORTED', `queues need the package ${name}: npm install ${name}`, {}, { cause: error })
  }
}
