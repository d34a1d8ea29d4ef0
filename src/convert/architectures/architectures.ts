/** The architectures that there are. */
import type { Architecture } from './architecture.js'
import { llama } from './llama.js'
import { qwen2, qwen3, qwen3moe } from './qwen.js'

export const ARCHITECTURES: readonly Architecture[] = [llama, qwen2, qwen3, qwen3moe]
