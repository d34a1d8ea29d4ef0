/** The checksum's WebAssembly, as base64. The build writes the module from `assembly/`: see scripts/embed.js. */
export const crc32Wasm: string
