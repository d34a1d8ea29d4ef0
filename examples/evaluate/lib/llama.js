/** What is used of llama.cpp's C API: models, tokens, logits over the whole vocabulary, and what goes into each matrix. */
import { join } from 'node:path'
import { fetchPackages } from './packages.js'

const F32 = 0
const FLASH_ATTENTION_OFF = 0

let api

/** The library, loaded once. */
function library() {
  if (api !== undefined) return api
  const { koffi, folder } = fetchPackages()
  // Their members, in the order of llama.h and ggml.h.
  koffi.struct('llama_model_params', {
    ...{ devices: 'void *', tensor_buft_overrides: 'void *' },
    ...{
      n_gpu_layers: 'int32_t',
      split_mode: 'int32_t',
      load_mode: 'int32_t',
      lazy_mode: 'int32_t',
      main_gpu: 'int32_t',
    },
    ...{
      tensor_split: 'void *',
      progress_callback: 'void *',
      progress_callback_user_data: 'void *',
      kv_overrides: 'void *',
    },
    ...{
      vocab_only: 'bool',
      check_tensors: 'bool',
      use_extra_bufts: 'bool',
      no_host: 'bool',
      no_alloc: 'bool',
      load_mtp: 'bool',
    },
  })
  koffi.proto('bool EvalCallback(void *tensor, bool ask, void *data)')
  koffi.proto('void LogCallback(int32_t level, const char *text, void *data)')
  koffi.struct('llama_context_params', {
    ...{ n_ctx: 'uint32_t', n_batch: 'uint32_t', n_ubatch: 'uint32_t', n_seq_max: 'uint32_t', n_rs_seq: 'uint32_t' },
    ...{
      n_outputs_max: 'uint32_t',
      n_outputs_max_per_seq: 'uint32_t',
      n_threads: 'int32_t',
      n_threads_batch: 'int32_t',
    },
    ...{ ctx_type: 'int32_t', rope_scaling_type: 'int32_t', pooling_type: 'int32_t', attention_type: 'int32_t' },
    ...{ flash_attn_type: 'int32_t', rope_freq_base: 'float', rope_freq_scale: 'float', yarn_ext_factor: 'float' },
    ...{ yarn_attn_factor: 'float', yarn_beta_fast: 'float', yarn_beta_slow: 'float', yarn_orig_ctx: 'uint32_t' },
    ...{
      defrag_thold: 'float',
      cb_eval: 'EvalCallback *',
      cb_eval_user_data: 'void *',
      type_k: 'int32_t',
      type_v: 'int32_t',
    },
    ...{ abort_callback: 'void *', abort_callback_data: 'void *' },
    ...{
      embeddings: 'bool',
      offload_kqv: 'bool',
      no_perf: 'bool',
      op_offload: 'bool',
      swa_full: 'bool',
      kv_unified: 'bool',
    },
    ...{ samplers: 'void *', n_samplers: 'size_t', ctx_other: 'void *' },
  })
  koffi.struct('llama_batch', {
    ...{ n_tokens: 'int32_t', token: 'int32_t *', embd: 'void *', pos: 'void *' },
    ...{ n_seq_id: 'void *', seq_id: 'void *', logits: 'int8_t *' },
  })
  const tensor = koffi.struct('ggml_tensor', {
    ...{
      type: 'int32_t',
      buffer: 'void *',
      ne: koffi.array('int64_t', 4),
      nb: koffi.array('size_t', 4),
      op: 'int32_t',
    },
    ...{ op_params: koffi.array('int32_t', 16), flags: 'int32_t', src: koffi.array('void *', 10), view_src: 'void *' },
    ...{ view_offs: 'size_t', data: 'void *', name: koffi.array('char', 64, 'String'), extra: 'void *' },
  })

  // In this order: each needs those before it.
  const base = koffi.load(join(folder, 'libggml-base.so'))
  const ggml = koffi.load(join(folder, 'libggml.v0.5.0.so'))
  const llama = koffi.load(join(folder, 'libllama.v0.5.0.so'))
  const silent = koffi.register(() => undefined, 'LogCallback *')
  llama.func('void llama_log_set(LogCallback *callback, void *data)')(silent, null)
  // Takes the build that fits the processor.
  ggml.func('void ggml_backend_load_all_from_path(const char *folder)')(`${folder}/`)
  api = {
    ...{ koffi, tensor },
    describe: base.func('const char *ggml_op_desc(void *tensor)'),
    defaultModelParams: llama.func('llama_model_params llama_model_default_params()'),
    defaultContextParams: llama.func('llama_context_params llama_context_default_params()'),
    load: llama.func('void *llama_model_load_from_file(const char *path, llama_model_params params)'),
    freeModel: llama.func('void llama_model_free(void *model)'),
    newContext: llama.func('void *llama_init_from_model(void *model, llama_context_params params)'),
    freeContext: llama.func('void llama_free(void *context)'),
    vocabulary: llama.func('void *llama_model_get_vocab(void *model)'),
    vocabularySize: llama.func('int32_t llama_vocab_n_tokens(void *vocabulary)'),
    bos: llama.func('int32_t llama_vocab_bos(void *vocabulary)'),
    addsBos: llama.func('bool llama_vocab_get_add_bos(void *vocabulary)'),
    tokenize: llama.func(
      'int32_t llama_tokenize(void *vocabulary, const char *text, int32_t bytes, void *tokens, int32_t max, bool special, bool parse)',
    ),
    memory: llama.func('void *llama_get_memory(void *context)'),
    clear: llama.func('void llama_memory_clear(void *memory, bool data)'),
    decode: llama.func('int32_t llama_decode(void *context, llama_batch batch)'),
    logits: llama.func('void *llama_get_logits_ith(void *context, int32_t index)'),
  }
  return api
}

/** A model that reads tokens. Free it. */
export class LlamaModel {
  #api = library()
  #model
  #context
  #batchTokens
  #onMatrix

  /**
   * @param options.context tokens that it looks back on at the most
   * @param options.batch tokens that are read in one go at the most
   * @param options.onMatrix called with the name of each matrix, and with each row that it is multiplied with
   */
  constructor(path, { context, batch, threads, onMatrix }) {
    const { koffi } = this.#api
    const modelParams = { ...this.#api.defaultModelParams(), n_gpu_layers: 0 }
    this.#model = this.#api.load(path, modelParams)
    if (this.#model === null) throw new Error(`llama.cpp does not load ${path}`)
    if (onMatrix !== undefined) {
      const look = (tensor, isAsking) => this.#look(tensor, isAsking, onMatrix)
      this.#onMatrix = koffi.register(look, 'EvalCallback *')
    }
    this.#context = this.#api.newContext(this.#model, {
      ...this.#api.defaultContextParams(),
      ...{ n_ctx: context, n_batch: batch, n_ubatch: batch, n_threads: threads, n_threads_batch: threads },
      // Keys and values as they are: what is measured is the weights.
      ...{ flash_attn_type: FLASH_ATTENTION_OFF, type_k: F32, type_v: F32 },
      ...(this.#onMatrix && { cb_eval: this.#onMatrix }),
    })
    if (this.#context === null) throw new Error(`llama.cpp has no context for ${path}`)
    this.#batchTokens = batch
    this.vocabularySize = this.#api.vocabularySize(this.#api.vocabulary(this.#model))
  }

  /** The id that a text starts with, or undefined where the model wants none. */
  get bos() {
    const vocabulary = this.#api.vocabulary(this.#model)
    return this.#api.addsBos(vocabulary) ? this.#api.bos(vocabulary) : undefined
  }

  /** The ids of a text, without any that would be put before it. */
  tokenize(text) {
    const bytes = Buffer.byteLength(text)
    const tokens = new Int32Array(bytes + 1)
    const count = this.#api.tokenize(
      this.#api.vocabulary(this.#model),
      text,
      bytes,
      tokens,
      tokens.length,
      false,
      false,
    )
    return tokens.slice(0, count)
  }

  /** Forgets what was read. */
  clear() {
    this.#api.clear(this.#api.memory(this.#context), true)
  }

  /** Reads on: as many tokens as a batch has, at the most. */
  read(tokens) {
    if (tokens.length > this.#batchTokens) throw new Error(`${tokens.length} tokens are more than a batch`)
    // Without places and sequences they follow those that were read before.
    const absent = { embd: null, pos: null, n_seq_id: null, seq_id: null }
    const logits = new Int8Array(tokens.length).fill(1)
    const status = this.#api.decode(this.#context, { n_tokens: tokens.length, token: tokens, logits, ...absent })
    if (status !== 0) throw new Error(`llama_decode failed: ${status}`)
  }

  /** What comes after token `index` of the last batch: a number for each id. Valid until the next call. */
  logits(index) {
    const pointer = this.#api.logits(this.#context, index)
    return new Float32Array(this.#api.koffi.view(pointer, 4 * this.vocabularySize))
  }

  free() {
    this.#api.freeContext(this.#context)
    this.#api.freeModel(this.#model)
    if (this.#onMatrix) this.#api.koffi.unregister(this.#onMatrix)
  }

  /** llama.cpp asks before each step whether it is to stop after it, and does then. */
  #look(pointer, isAsking, onMatrix) {
    const { koffi, tensor, describe } = this.#api
    if (describe(pointer) !== 'MUL_MAT') return !isAsking
    const { src } = koffi.decode(pointer, tensor)
    const weights = koffi.decode(src[0], tensor)
    if (!/^blk\..*\.weight$/.test(weights.name)) return !isAsking
    if (isAsking) return true
    const { type, ne, nb, data } = koffi.decode(src[1], tensor)
    if (type !== F32) throw new Error(`${weights.name} is multiplied with numbers that are no F32`)
    const [columns, rows] = Array.from(ne, Number)
    const bytes = koffi.view(data, Number(nb[1]) * rows)
    for (let row = 0; row < rows; row++) {
      onMatrix(weights.name, new Float32Array(bytes, Number(nb[1]) * row, columns), row)
    }
    return true
  }
}
