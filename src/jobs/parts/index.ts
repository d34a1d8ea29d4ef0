/** `apr-stream/parts`: a model made in parts, by any number of processes on any number of machines. */
export { abort } from './abort.js'
export { finish } from './finish.js'
export { part } from './part.js'
export { plan } from './plan.js'
export type { FinishOptions, PartOptions, PartProgress, PartsJobOptions, PartsPlanOptions } from './options.js'
export type { BlockReceipt, Finished, PartsPlan, PlannedSource, SourceRun } from '../../parts/blocks.js'
