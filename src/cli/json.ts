/**
 * What the command line prints with `--json`. A field is never taken away and keeps its meaning as long as
 * `schemaVersion` stays; fields may be added.
 */
import type { Comparison } from '../jobs/compare/compare.js'
import type { ConversionPlan, ConvertReport } from '../jobs/conversion/conversion.js'
import type { FormatName } from '../model/model.js'
import type { ImatrixReport } from '../jobs/imatrix/imatrix.js'
import type { Inspection } from '../jobs/reading/inspect.js'
import type { Plan } from '../jobs/plan.js'
import type { QuantizeReport } from '../jobs/job.js'
import type { Verification } from '../jobs/reading/verify.js'
import type { AprErrorJson } from '../model/errors.js'
import type { Finished, PartsPlan } from '../parts/blocks.js'

export const SCHEMA_VERSION = 1

interface Versioned {
  schemaVersion: typeof SCHEMA_VERSION
}

/** `quantize --json`. */
export interface QuantizeJson extends Versioned, Omit<QuantizeReport, 'restartReason'> {
  restartReason?: string | undefined
}

/** `quantize --plan --json`. */
export interface PlanJson extends Versioned, Omit<Plan, 'freeBytes'> {
  output: string
  freeBytes?: number | undefined
}

/** `convert --json`. */
export interface ConvertJson extends Versioned, Omit<ConvertReport, 'restartReason'> {
  restartReason?: string | undefined
}

/** `convert --plan --json`. */
export interface ConversionPlanJson extends Versioned, Omit<ConversionPlan, 'freeBytes'> {
  output: string
  freeBytes?: number | undefined
}

/** `imatrix --json`. */
export interface ImatrixJson extends Versioned, ImatrixReport {}

/** `plan --save --json`. */
export interface PartsPlanJson extends Versioned, Pick<PartsPlan, 'id' | 'input' | 'output' | 'blockBytes'> {
  /** The file that the plan was written to. */
  save: string
  /** Numbers of units and blocks. */
  units: number
  blocks: number
  /** Of the output. */
  bytes: number
}

/** `part --json`. */
export interface PartJson extends Versioned {
  id: string
  unit: number
  /** That are in their places, those included that were there before; none where the plan is finished. */
  blocks: number
  bytes: number
  seconds: number
}

/** `finish --json`. */
export interface FinishJson extends Versioned, Finished {
  id: string
}

/** `abort --json`. */
export interface AbortJson extends Versioned {
  id: string
  aborted: true
}

/** `queue --json`. */
export interface QueueJson extends Versioned {
  /** The plan's, and the flow's. */
  id: string
  flow: string
  /** What was done: see `Flow.added`; or it was cancelled. */
  added?: 'added' | 'there' | 'again' | undefined
  cancelled?: true | undefined
  parts: number
  /** With `--wait`. */
  finished?: Finished | undefined
}

/** `compare --json`. */
export interface CompareJson extends Versioned, Omit<Comparison, 'schemaVersion'> {}

/** `inspect --json`. Of GGUF an array of more than 16 elements is `{ length, first }`, integers over 2^53 are strings. */
export interface InspectJson extends Versioned, Inspection {}

/** `verify --json`. */
export interface VerifyJson extends Versioned, Omit<Verification, 'error' | 'format'> {
  format?: FormatName | undefined
  error?: ErrorFields | undefined
}

/** What a command that failed prints with `--json`. */
export interface ErrorJson extends Versioned {
  error: ErrorFields
}

/** What is known of an error. */
export interface ErrorFields extends Omit<AprErrorJson, 'code'> {
  /** An AprErrorCode, a code of the file system, or `ABORT_ERR`. */
  code?: string | undefined
  /** The system's call that failed. */
  syscall?: string | undefined
}

export type CliJson =
  | CompareJson
  | QuantizeJson
  | PlanJson
  | ConvertJson
  | ConversionPlanJson
  | ImatrixJson
  | InspectJson
  | VerifyJson
  | PartsPlanJson
  | PartJson
  | FinishJson
  | AbortJson
  | QueueJson
  | ErrorJson
