/** CRC-32: this project's, Node's zlib, and the folding alone. `npm run checksum` prints gigabytes a second. */
import { randomFillSync } from 'node:crypto'
import { crc32 as zlibCrc32 } from 'node:zlib'
import { crc32 } from '../dist/checksum/crc32.js'
import { crc32Wasm } from '../dist/checksum/crc32-wasm.js'
import { compileModule, instantiate } from '../dist/wasm/module.js'
import { interleave } from './lib/interleave.js'

const BYTES = 256 * 2 ** 20
const PIECE_BYTES = 2 ** 20
const MODULE_PAGES = 5

const long = randomFillSync(Buffer.alloc(BYTES))
const short = long.subarray(0, PIECE_BYTES)
const module = compileModule(crc32Wasm)
const folder = /** @type {any} */ (instantiate(/** @type {any} */ (module), MODULE_PAGES).exports)

/** @param {(piece: Uint8Array) => unknown} checksum @param {boolean} isCached */
const over = (checksum, isCached) => () => {
  for (let start = 0; start < BYTES; start += PIECE_BYTES) {
    checksum(isCached ? short : long.subarray(start, start + PIECE_BYTES))
  }
}
const timings = await interleave(
  {
    'folding, in its own memory': () => {
      const bytes = folder.DATA_BYTES.value
      for (let done = 0; done < BYTES; done += bytes) folder.fold(bytes)
    },
    'crc32, data in a cache': over(crc32, true),
    'crc32, data that is not': over(crc32, false),
    'zlib, data in a cache': over(zlibCrc32, true),
    'zlib, data that is not': over(zlibCrc32, false),
  },
  { rounds: 7 },
)
for (const [name, { median }] of Object.entries(timings)) {
  console.log(`${name.padEnd(28)}${(BYTES / median / 1e9).toFixed(1).padStart(6)} GB/s`)
}
