/** A plan whose parts are made by the test: what a flow does with them is seen without any model. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { BlockReceipt, Finished, PartsPlan } from '../../dist/parts/blocks.js'
import type { FlowParts } from '../../dist/bullmq/flow.js'
import type { PartCall, PartFunctions } from '../../dist/bullmq/workers.js'

export const SHORT = { lockDuration: 1000, stalledInterval: 500, backoff: 20 }

const BLOCK_BYTES = 64 * 1024

let plans = 0

export function fakePlan(parts: number, fields: Partial<PartsPlan> = {}): PartsPlan {
  return {
    id: (++plans).toString(16).padStart(16, '0'),
    version: '0.0.0',
    input: 's3://models/in.apr',
    output: 's3://models/out.apr',
    overwrite: false,
    options: {},
    totalBytes: (parts + 1) * BLOCK_BYTES,
    blockBytes: BLOCK_BYTES,
    units: Array.from({ length: parts }, (_, unit) => [unit, unit + 1] as const),
    sources: [],
    ...fields,
  }
}

export interface FakeParts extends PartFunctions, FlowParts {
  /** Units, in the order in which they were begun. */
  readonly begun: number[]
  readonly finished: BlockReceipt[][]
  readonly aborted: string[]
}

export interface FakeWork {
  /** What is done in a part; 10 ms of nothing where not given. */
  part?: (unit: number, call: PartCall) => Promise<void>
  finish?: (call: Pick<PartCall, 'signal'>) => Promise<void>
}

export function fakeParts({ part = () => sleep(10), finish }: FakeWork = {}): FakeParts {
  const [begun, finished, aborted]: [number[], BlockReceipt[][], string[]] = [[], [], []]
  return {
    ...{ begun, finished, aborted, settings: SHORT },
    async part(_plan, unit, call) {
      begun.push(unit)
      await part(unit, call)
      return [{ block: unit, crc32: unit + 1 }]
    },
    async finish(plan, { receipts, signal }): Promise<Finished> {
      finished.push([...receipts].sort((a, b) => a.block - b.block))
      await finish?.({ signal })
      return { output: plan.output, bytes: plan.totalBytes, crc32: 7, already: false }
    },
    abort(plan) {
      aborted.push(plan.id)
      return Promise.resolve()
    },
  }
}
