/** What GGUF file is made of a model of another format: its pairs, its tensors, and what each tensor is made of. */
import { kv, type GgufModel } from '../formats/formats.js'
import { AprError } from '../model/errors.js'
import type { Model } from '../model/model.js'
import type { TensorInfo } from '../model/tensor.js'
import { readConfig } from './config/read-config.js'
import { generalKvs } from './general/general.js'
import { parameterCounts } from './general/size-label.js'
import { hfModelOf, type ConfigFolder } from './hf-source.js'
import { firstKvs, hparamKvs } from './hparams.js'
import type { Outtype } from './hf-model.js'
import { planTensors } from './plan-tensors.js'
import type { TargetTensor } from './tensor-plan.js'
import { tokenizerKvs } from './tokenizer/tokenizer.js'

const QUANTIZATION_VERSION = 2

export interface GgufOptions {
  /** Dtype of the matrices. */
  readonly outtype: Outtype
  /** The pre-tokenizer's name, where the vocabulary is none that is known. */
  readonly pre?: string | undefined
  /** `config.json` and the tokenizer's files, for a model that comes without them. */
  readonly config?: ConfigFolder | undefined
}

/** A GGUF model, and what its tensors are made of. */
export interface GgufConversion {
  readonly model: GgufModel
  /** Undefined where the tensors stay as they are. */
  readonly targets: readonly TargetTensor[] | undefined
  /** Names of source tensors that nothing is made of. */
  readonly dropped: readonly string[]
}

/**
 * Pure: the same model gives the same.
 * @throws AprError for all that keeps the model from being written, before a byte of it is read
 */
export function toGgufModel(model: Model, options: GgufOptions): GgufConversion {
  const hf = hfModelOf(model, options.config)
  const unused = namesBeside(model.tensors, hf.tensors)
  if ('kvs' in hf) return { model: hf, targets: undefined, dropped: unused }
  const found = readConfig(hf)
  const { architecture, vocabSize, raw } = found
  const problems = new Problems()
  const plan = problems.of(() => planTensors(found, hf, options.outtype))
  const { tensors: targets = [], fileType = 0, dropped = [] } = plan ?? {}
  problems.of(() => checkVocabulary(targets, vocabSize))
  const tensors = Object.freeze(targets.map(({ tensor }) => tensor))
  const counts = { architecture: architecture.name, parameters: parameterCounts(tensors) }
  const [name, ...general] = problems.of(() => generalKvs(hf, counts)) ?? []
  const first = plan ? [...(name ? [name] : []), ...firstKvs(found)] : []
  const hparams = plan ? (problems.of(() => hparamKvs(found, fileType)) ?? []) : []
  const vocabulary = { kind: architecture.tokenizer, vocabSize, config: raw, pre: options.pre }
  const tokenizer = problems.of(() => tokenizerKvs(hf.files, vocabulary)) ?? []
  problems.check()
  const kvs = [
    ...first,
    ...general,
    ...hparams,
    kv('general.quantization_version', 'u32', QUANTIZATION_VERSION),
    ...tokenizer,
  ]
  const { origin } = model
  const gguf: GgufModel = Object.freeze({ format: 'gguf', tensors, kvs: Object.freeze(kvs), ...(origin && { origin }) })
  return { model: gguf, targets, dropped: [...dropped, ...unused] }
}

/** Names of the tensors that are not among those that are used. */
function namesBeside(all: readonly TensorInfo[], used: readonly TensorInfo[]): string[] {
  if (all.length === used.length) return []
  const names = new Set(used.map(({ name }) => name))
  return all.map(({ name }) => name).filter((name) => !names.has(name))
}

/** What is wrong with a model: people mend it at once, not one thing after the other. */
class Problems {
  readonly #found: AprError[] = []

  /** What `work` gives; undefined where it throws one. */
  of<T>(work: () => T): T | undefined {
    try {
      return work()
    } catch (error) {
      if (!(error instanceof AprError)) throw error
      this.#found.push(error)
      return undefined
    }
  }

  /** @throws AprError with all of them, and the code of the first */
  check(): void {
    const [first, ...rest] = this.#found
    if (!first) return
    if (rest.length === 0) throw first
    throw new AprError(first.code, [first, ...rest].map(({ message }) => message).join('; and '))
  }
}

/** llama.cpp wants a row of the embedding for each token, and no other. */
function checkVocabulary(targets: readonly TargetTensor[], vocabSize: number | undefined): void {
  const embedding = targets.find(({ tensor }) => tensor.name === 'token_embd.weight')
  const rows = embedding?.tensor.shape[0]
  if (vocabSize === undefined || rows === undefined || rows === vocabSize) return
  const what = `expected an embedding with a row for each of the ${vocabSize} tokens (vocab_size), found ${rows} rows`
  throw new AprError('APR_BAD_INDEX', what, { tensor: embedding?.pieces[0]?.source })
}
