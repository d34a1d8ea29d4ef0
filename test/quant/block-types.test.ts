/** Every block type in the table: the bytes and the values of llama.cpp's library, from both kernels. */
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { test } from 'tap'
import { dequantize } from 'apr-stream'
import { DTYPES } from '../../dist/model/dtypes.js'
import { BLOCK_DTYPES, type BlockDType } from '../../dist/quant/block.js'
import { BLOCK_TYPES } from '../../dist/quant/block-types.js'
import type { Kernel } from '../../dist/quant/kernel.js'
import { createScalarKernel } from '../../dist/quant/scalar.js'
import { createSimdKernel } from '../../dist/quant/simd.js'
import { differingBlocks, fitBlocks, patternsOf } from '../helpers/blocks.js'

/** SHA-256 of the blocks of `input.f32` that the library makes, and of the f32 values that it decodes them to. */
interface Golden {
  readonly bytes: string
  readonly decoded: string
}

/** The blocks of Q4_K, Q4_0 and so on without importance and with it: a matrix of one row for 24 super-blocks. */
const GOLDEN: Readonly<Record<BlockDType, readonly [plain: Golden, weighted: Golden]>> = {
  Q2_K: [
    {
      bytes: '165f912ba17fb8d19e90ef4f4d5c06df91f3c6cac11392ca802c5443cf9ca839',
      decoded: '8b9d8257c40ae2cf276df2a6b82ea876d9bc57b2a2f241118b4eb72b79614af5',
    },
    {
      bytes: '13863d0f0319fe8fc71951b04245d99725c2aac38ff046710157785f0855b64a',
      decoded: '4dfac53928608c45a8b86b64c2203bcd19457ada14579c4145b2712ff5e435a5',
    },
  ],
  Q3_K: [
    {
      bytes: '72d33b0b186f92551229f55009329aea871339194d71be4bc1395940973023f8',
      decoded: '275744799cd83b127126da6f41f8444e9625d53f422f1e536c7b920a3050234b',
    },
    {
      bytes: '12b86bf435bf160887b237e96973a0fbdd170bf441e811cd81f0005cd5499b58',
      decoded: 'f760a5e261c03db78cff87e6751d690aee1b52c5bbbb5ebe5624864ebcd5314b',
    },
  ],
  Q4_K: [
    {
      bytes: 'a6971778da8f73ffd957d362bde15b1936da2a7759388782a5f7239e182ef792',
      decoded: '3daf6a21a440f61f9605dd7881d295517467aebd7df1a9e165454d32b90fcdbb',
    },
    {
      bytes: '76755eaf5f807992615e7416774cd51a8c3536df4f47cd7e62983edb8fd10a7f',
      decoded: '9ff1b6640617bad2b73b964728197dc053156b2c7420a5d1b9dfcd982afcc73b',
    },
  ],
  Q5_K: [
    {
      bytes: '75ae6bb3d38d8f010ba03a44765242b3212a2c12f36719dd79d5fa7ddd2bd178',
      decoded: 'bba9f0456a544aa4c7b81404c2adca7d00b75654f454faa232cd89a05769569e',
    },
    {
      bytes: '2833216529417233b847fad6bd6eeb897b1d78245e794048d8b361e456edccc8',
      decoded: 'c0e8b63494c5b5f344613cf47b9e55a53a17a218bade12e43f5695caa2101432',
    },
  ],
  Q6_K: [
    {
      bytes: '5b87f5cf9cff12afcaca968eb54c6ab7f1e5004edfaf27ce74251f2503af788b',
      decoded: '3a7dc0da34fefbf6bee0e2fc93922cc26db301d8d4730f26d7474c33680dc601',
    },
    {
      bytes: '6a3883e699e371622ed909c6b1536b775edacb09f3cad72003622a15d8fe8652',
      decoded: '0f3863ae8e9c1ec66c129544174db205c826613764b294f72aaf39b10cd36e9b',
    },
  ],
  Q4_0: [
    {
      bytes: '0dd12de1c9419bee1a4d59c3a3f0566d67f9fa59f1420541d454fb0300b0a717',
      decoded: '6edcd682a91fa25fbe1673abdde3a285b7efa82b98a307f679801736734a7da2',
    },
    {
      bytes: 'c697774ebf029d3e371a3416633becfcc33dba396b71cd71d12bf5af695b4393',
      decoded: 'f170e9fdc74ee4797e368b5964f572ee50bd372ebbeaedfa3a653ea4051335d7',
    },
  ],
  Q4_1: [
    {
      bytes: 'e813af80a54efe12b4031404d6e09e52b099f2f10a85e3e072a28173793b2e4e',
      decoded: '83a8c233561bfa8b732dd119432396e53e027556ea32e6f9add6e6fa0a9fc366',
    },
    {
      bytes: '5d031799440011181f3c6e8b82ea7c8567fb04fed924b0c4ab07cda1cb60deb1',
      decoded: '383e385490783349e6de8fbce0ec8dca0c4339129deeb7b346c36a53b3fda384',
    },
  ],
  Q5_0: [
    {
      bytes: '70de36fbdf268d2fc3c15ba46903ad3e141de5ddfb0f45f8a3cb0749d10e2ff6',
      decoded: '7da4aa6fa86a4886aa003a702f1b47b06d6622001582a3a30e0b373dc074c545',
    },
    {
      bytes: 'fb6c1c1f590fe2ab79b0b03db0fe818de5797e1e2162fd4c3cdd678683ae04ad',
      decoded: 'bbfbb7926edfb74f8d37bea7979bd6473265df6a73fb176f458780fd15306953',
    },
  ],
  Q5_1: [
    {
      bytes: 'aeeaf89f0e3f53baa4af03398362e40d10e0abc988018487d25300e8821b42cf',
      decoded: '85a14f1e4394cf57483c93b78ca628d25da0ace4d062e1065534e90565cd1d42',
    },
    {
      bytes: '386061cfa0e598f5687d25c3edac03727e233741f22478d17e7931f9a9a881f2',
      decoded: '8aac0c5aafd156b39ca2f83dc4ad74a0a10f8dabaaccfd45173602a862a56521',
    },
  ],
  Q8_0: [
    {
      bytes: '1b72940b43b7fcbcc3f6cfa6742ba43d4093fd818f1fdbe4bff3c3af0ecf6a64',
      decoded: 'c574e3c66743a2635f2df8358a41b3062785924e383b7b034189682a2fb4ac86',
    },
    {
      bytes: '1b72940b43b7fcbcc3f6cfa6742ba43d4093fd818f1fdbe4bff3c3af0ecf6a64',
      decoded: 'c574e3c66743a2635f2df8358a41b3062785924e383b7b034189682a2fb4ac86',
    },
  ],
  IQ4_NL: [
    {
      bytes: '44acbbb0754c7a2c2c2acc437aa38f8da6cee667fb785f08d886f20d66089eee',
      decoded: 'a0f753f74c1883137912130cb477d257131c992c438618c351c212d9d3a0f1a7',
    },
    {
      bytes: 'd0e16cee88efeed5eeb6c3c7eac6b9a06d137f60796dcb912c1af5ca58bb2cfd',
      decoded: 'b95cd2095f50680a10ddb8651d4f27238e85ab819296072a7e44dc9331ee5616',
    },
  ],
  IQ4_XS: [
    {
      bytes: 'b47981dfbcffd84c6a1bf9fdcfd834966aa67ef7debbe3ce7334d8de79c27c6c',
      decoded: 'fef96e4894ef4b1e82233880ec7be616c98e09a6f33d4a10cd18c0d8e1348c37',
    },
    {
      bytes: 'de794e6f799f6421ca19a1b565d628dac059d44169461cdc95f2760da0f5dd93',
      decoded: 'c8041dd942efeb15dea6914cf1f62cec6de40c9c32406876fac2e1f147ffce5e',
    },
  ],
}

const KERNELS: Readonly<Record<string, Kernel>> = { scalar: createScalarKernel(256), simd: createSimdKernel() }

const url = (name: string): URL => new URL(`../fixtures/${name}`, import.meta.url)
const floats = (name: string): Float32Array => new Float32Array(Uint8Array.from(readFileSync(url(name))).buffer)
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

const input = floats('q4k/input.f32')
const matrix = floats('kquants/imatrix.f32')
const rare = floats('kquants/rare/input.f32')
const rareMatrix = floats('kquants/rare/imatrix.f32')

for (const dtype of BLOCK_DTYPES.filter((name) => BLOCK_TYPES[name])) {
  for (const [index, { bytes, decoded }] of GOLDEN[dtype].entries()) {
    const isWeighted = index === 1
    const what = isWeighted ? `${dtype} with importance` : dtype
    // As the files are named: q4k-imatrix.bin, q4_0.bin.
    const file = `${dtype.toLowerCase().replace('_k', 'k')}${isWeighted ? '-imatrix' : ''}.bin`

    for (const [name, kernel] of Object.entries(KERNELS)) {
      void test(`${what}, kernel ${name}: the bytes of llama.cpp for every family of data`, (t) => {
        const found = fitBlocks(dtype, input, kernel, { importance: isWeighted ? matrix : undefined })
        const expected = url(`kquants/${file}`)
        // The hash says it for all; where the blocks are kept they say where.
        if (existsSync(expected)) {
          t.strictSame(differingBlocks(found, readFileSync(expected), DTYPES[dtype].blockBytes), [])
        }
        t.equal(sha256(found), bytes)
        t.end()
      })

      const expected = url(`kquants/rare/${file}`)
      if (!existsSync(expected)) continue
      void test(`${what}, kernel ${name}: the bytes of llama.cpp for blocks that forgive no slip`, (t) => {
        const found = fitBlocks(dtype, rare, kernel, { importance: isWeighted ? rareMatrix : undefined })
        t.strictSame(differingBlocks(found, readFileSync(expected), DTYPES[dtype].blockBytes), [])
        t.end()
      })
    }

    void test(`${what}: decodes to the values that llama.cpp decodes`, (t) => {
      const blocks = fitBlocks(dtype, input, KERNELS['simd'] as Kernel, { importance: isWeighted ? matrix : undefined })
      t.equal(sha256(new Uint8Array(patternsOf(dequantize(dtype, blocks)).buffer)), decoded)
      t.end()
    })
  }
}
