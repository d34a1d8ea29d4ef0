/** The two databases that BullMQ runs on. */
import type { Test } from 'tap'
import { POSTGRES_PROGRAMS, startPostgres } from './servers/postgres.js'
import { startRedis } from './servers/redis.js'
import { notThere } from './servers/server.js'

export const DATABASES = [
  { database: 'Redis', skip: notThere('redis-server'), start: async (t: Test) => (await startRedis(t)).url },
  {
    database: 'PostgreSQL',
    skip: notThere(...POSTGRES_PROGRAMS),
    start: async (t: Test) => (await startPostgres(t)).url,
  },
] as const
