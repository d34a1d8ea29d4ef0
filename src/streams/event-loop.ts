import { setImmediate } from 'node:timers/promises'

/**
 * Lets the event loop turn once in full. One immediate is not enough: behind a read or a timer it runs before anything
 * else that waits.
 */
export async function turn(): Promise<void> {
  await setImmediate()
  await setImmediate()
}
