import type { ByteSource } from 'apr-stream'

/** A file that is not there: bytes in memory, followed by zeros up to `size`. */
export function memorySource(bytes: Uint8Array, size = bytes.length): ByteSource & { readonly isClosed: boolean } {
  let isClosed = false
  return {
    name: 'memory.apr',
    size,
    get isClosed() {
      return isClosed
    },
    read(target, position) {
      if (isClosed || position + target.length > size) {
        return Promise.reject(new Error(`a read of ${target.length} bytes at ${position} of ${size}`))
      }
      target.fill(0)
      target.set(bytes.subarray(position, position + target.length))
      return Promise.resolve()
    },
    close() {
      if (isClosed) return Promise.reject(new Error('closed twice'))
      isClosed = true
      return Promise.resolve()
    },
  }
}
