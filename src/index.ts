export { AprError, type AprErrorCode, type AprErrorJson, type ErrorPlace } from './model/errors.js'
export type { TensorInfo } from './model/tensor.js'
export type { TensorRecord } from './model/record.js'
export type { FileIdentity, FormatName, Model, ModelOf, Models } from './model/model.js'
export {
  arrayKv,
  kv,
  kvValue,
  type Kv,
  type KvScalar,
  type KvType,
  type KvValue,
  type ScalarType,
} from './formats/formats.js'
export type { AprModel, GgufModel, SafetensorsModel } from './formats/formats.js'
export type { DType } from './model/dtypes.js'
export type { ByteSource } from './model/byte-source.js'
export { openFile, type OpenFile } from './files/open-source.js'
export { aprReader, ggufReader, modelReader, safetensorsReader, type ReaderOptions } from './streams/reader.js'
export { toGguf, type ToGgufOptions } from './streams/convert/to-gguf.js'
export { q4k } from './streams/quantize/q4k.js'
export type { Q4KOptions } from './streams/quantize/q4k.js'
export { recipe, type RecipeChoices, type RecipeOptions } from './streams/quantize/recipe.js'
export type { Decision } from './streams/quantize/quantization.js'
export type { RecipeDecision, RecipeReason } from './recipes/settings.js'
export type { RecipeText, TargetDType } from './recipes/names.js'
export {
  aprWriter,
  ggufWriter,
  safetensorsWriter,
  type GgufWriterOptions,
  type SafetensorsWriterOptions,
  type WriterOptions,
} from './streams/writer.js'
export { filterTensors, mapMetadata, mapTensors } from './streams/tensor-stages.js'
export { toApr } from './streams/convert/to-apr.js'
export type { TensorReadable, TensorTransform, TensorWritable } from './streams/face.js'
export type { Fit } from './quant/kernel.js'
export { selectAsApr, selectByDefault, type Kept, type Reason, type Select } from './quant/policy.js'
export { dequantize, dequantizeQ4K } from './quant/dequantize.js'
export { quantize } from './jobs/quantize.js'
export type { JobSummary, OutputFile, Progress, QuantizeOptions, QuantizeReport } from './jobs/job.js'
export { convert } from './jobs/conversion/convert.js'
export {
  planConversion,
  type ConversionPlan,
  type ConversionPlanOptions,
  type ConversionSummary,
  type ConvertedTensor,
  type ConvertOptions,
  type ConvertReport,
  type SourceTensor,
} from './jobs/conversion/conversion.js'
export type { MetadataEntry } from './formats/format.js'
export { plan, type DTypeCensus, type Plan, type PlannedTensor, type PlanOptions } from './jobs/plan.js'
export { imatrix, type ImatrixOptions, type ImatrixReport } from './jobs/imatrix/imatrix.js'
export { compare, type CompareOptions, type Comparison } from './jobs/compare/compare.js'
export type {
  Counts,
  ErrorFigures,
  ErrorSums,
  GroupFigures,
  KindFigures,
  LayerFigures,
  ReportData,
  ReportModel,
  RowFigures,
  TensorFigures,
  UnmatchedTensor,
} from './quality/report-data.js'
export { inspect, type InspectedTensor, type Inspection } from './jobs/reading/inspect.js'
export { verify, type Verification } from './jobs/reading/verify.js'
export type { ReadOptions } from './jobs/reading/input.js'
export type { DiagnosticsMessage, JobEndMessage, JobStartMessage } from './jobs/observe.js'
export type { OutputMessage } from './files/diagnostics.js'
export type { Mode, ModeOptions } from './jobs/mode.js'
export type {
  AbortJson,
  CompareJson,
  ConversionPlanJson,
  ConvertJson,
  ImatrixJson,
  ErrorFields,
  ErrorJson,
  FinishJson,
  InspectJson,
  PartJson,
  PartsPlanJson,
  PlanJson,
  QuantizeJson,
  VerifyJson,
} from './cli/json.js'
