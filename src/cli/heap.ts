import { setFlagsFromString } from 'node:v8'

/** A plan makes little that lasts: a heap that is swept early, and grows slowly, keeps all of it below 100 MB. */
export function keepHeapSmall(): void {
  setFlagsFromString('--semi-space-growth-factor=1')
  setFlagsFromString('--optimize-for-size')
}
