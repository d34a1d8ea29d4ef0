/** The figures' WebAssembly, as base64. The build writes the module from `assembly/`: see scripts/embed.js. */
export const errorsWasm: string
