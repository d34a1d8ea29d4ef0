export { AprError, type AprErrorCode, type AprErrorJson, type ErrorPlace } from './model/errors.js'
export type { AprModel, FileIdentity, TensorInfo, TensorRecord } from './model/tensor.js'
export type { DType } from './model/dtypes.js'
export { openFile, type ByteSource, type OpenFile } from './files/byte-source.js'
export { aprReader, type ReaderOptions } from './streams/reader.js'
export { q4k } from './streams/q4k.js'
export type { Q4KOptions } from './streams/quantize-model.js'
export { aprWriter, type WriterOptions } from './streams/writer.js'
export { filterTensors, mapMetadata, mapTensors } from './streams/stages.js'
export type { TensorReadable, TensorTransform, TensorWritable } from './streams/face.js'
export type { Fit } from './quant/kernel.js'
export { selectAsApr, selectByDefault, type Kept, type Reason, type Select } from './quant/policy.js'
export { dequantize, dequantizeQ4K } from './quant/dequantize.js'
export { quantize, type Progress, type QuantizeOptions, type QuantizeReport } from './jobs/quantize.js'
export {
  plan,
  type DTypeCensus,
  type JobSummary,
  type Plan,
  type PlannedTensor,
  type PlanOptions,
} from './jobs/plan.js'
export { inspect, type InspectedTensor, type Inspection } from './jobs/inspect.js'
export { verify, type Verification } from './jobs/verify.js'
export type { ReadOptions } from './jobs/input.js'
export type { DiagnosticsMessage, JobEndMessage, JobStartMessage } from './jobs/observe.js'
export type { OutputMessage } from './diagnostics.js'
export type { Mode, ModeOptions } from './jobs/mode.js'
export type { ErrorFields, ErrorJson, InspectJson, PlanJson, QuantizeJson, VerifyJson } from './cli/json.js'
