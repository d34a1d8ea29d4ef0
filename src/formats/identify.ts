/** What a file is that is not of the format that was expected: its first bytes, and what these are known for. */
export function identify(start: Uint8Array): string {
  const first = [...start.subarray(0, 4)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ')
  const kind = kindOf(String.fromCharCode(...start.subarray(0, 9)))
  return kind === '' ? first : `${first}: ${kind}`
}

function kindOf(text: string): string {
  if (text.startsWith('APRN')) return 'an APR v1 file; convert it to v2 first'
  if (text.startsWith('APR')) return 'an APR file'
  if (text.startsWith('GGUF')) return 'a GGUF file'
  if (/^(lmgg|fmgg|tjgg|algg)/.test(text)) return 'a GGML file'
  if (text[8] === '{') return 'a safetensors file'
  if (text.startsWith('PK')) return 'a zip archive, as PyTorch saves checkpoints'
  if (text.startsWith('\x1f\x8b')) return 'a gzip file'
  return ''
}
