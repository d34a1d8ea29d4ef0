/** The package's WebAssembly modules: compiled when it is built, each on a memory that is provided here. */
const PAGE_BYTES = 64 * 1024

/** What every module exports: the bytes of memory that its fixed addresses need. */
interface ModuleExports {
  readonly MEMORY_BYTES: WebAssembly.Global
}

/** A module on a memory of its own. */
export interface Instance<T> {
  readonly exports: T
  readonly memory: ArrayBuffer
}

/** The module can be sent to other threads, which then share the machine code. */
export function compileModule(base64: string): WebAssembly.Module {
  return new WebAssembly.Module(Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)))
}

/** @param pages of 64 KiB: what the module was compiled to ask for */
export function instantiate<T extends ModuleExports>(module: WebAssembly.Module, pages: number): Instance<T> {
  const memory = new WebAssembly.Memory({ initial: pages })
  const exports = new WebAssembly.Instance(module, { env: { memory } }).exports as T
  if (exports.MEMORY_BYTES.value > pages * PAGE_BYTES) throw new Error('the module needs more memory')
  return { exports, memory: memory.buffer }
}
