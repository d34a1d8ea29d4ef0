/** The architectures that there are. */
import type { Architecture } from './architecture.js'
import { deepseek } from './deepseek.js'
import { gemma3 } from './gemma3.js'
import { llama } from './llama.js'
import { phi3 } from './phi3.js'
import { qwen2, qwen3, qwen3moe } from './qwen.js'

export const ARCHITECTURES: readonly Architecture[] = [llama, qwen2, qwen3, qwen3moe, gemma3, phi3, deepseek]
