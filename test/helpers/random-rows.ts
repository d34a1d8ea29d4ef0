/** Rows of random values of many kinds, the rare ones among them, and importance that belongs to them. */
import { randomBits } from './random.js'

export interface RandomRows {
  /** As many whole rows as were asked for elements. */
  readonly values: Float32Array
  readonly rowElements: number
  /** Of a row. */
  readonly importance: Float32Array
}

interface Random {
  /** 32 bits. */
  readonly bits: () => number
  /** From 0 up to 1, without 1. */
  readonly uniform: () => number
  readonly gaussian: () => number
  readonly sign: () => number
}

/** One value; `shared` is a gaussian that 16 or 32 values in a row share, `place` the value's own among them. */
type Kind = (random: Random, shared: number, place: number) => number

const KINDS: readonly Kind[] = [
  ({ gaussian }) => gaussian(),
  ({ uniform, sign }) => -sign() * Math.log(1 - uniform()),
  ({ uniform }) => Math.tan(Math.PI * (uniform() - 0.5)),
  ({ uniform }) => uniform(),
  ({ uniform }) => -uniform(),
  ({ gaussian }) => 4 + gaussian(),
  ({ gaussian }, shared) => shared * gaussian(),
  ({ gaussian }, shared) => shared + 0.01 * gaussian(),
  // Constant, to the bit and to a few last places.
  (_, shared) => shared,
  ({ uniform }, shared) => shared * (1 + Math.floor(8 * uniform()) * 2 ** -23),
  ({ gaussian }, shared) => shared * (1 + 1e-6 * gaussian()),
  // Ties: few values, opposite ones, halves.
  ({ uniform }) => Math.floor(uniform() * 3) - 1,
  ({ uniform }) => Math.floor(uniform() * 17) - 8,
  ({ uniform }) => Math.floor(uniform() * 64) / 2 - 16,
  ({ sign }, shared) => sign() * shared,
  ({ sign }) => sign(),
  // Zeros of both signs, alone, in whole sub-blocks and among others.
  ({ sign }) => sign() * 0,
  ({ gaussian, sign }, shared) => (shared < 0 ? sign() * 0 : gaussian()),
  ({ uniform, gaussian }) => (uniform() < 0.02 ? gaussian() : 0),
  ({ gaussian }, _, place) => (place === 5 ? 50 : 1) * gaussian(),
  (_, shared, place) => shared * place,
  (_, shared, place) => shared * (place % 2 === 0 ? 1 : -1) * place,
  // Of every magnitude.
  ({ uniform, sign }) => sign() * 2 ** Math.floor(40 * uniform() - 20),
  ({ uniform, gaussian }) => gaussian() * 10 ** (16 * uniform() - 8),
  ({ gaussian }, shared) => gaussian() * 10 ** (4 * shared),
  // About the least magnitude that the fits look at.
  ({ gaussian }) => 1e-15 * gaussian(),
]

/** What all values are multiplied by: from the subnormal ones to those whose squares, and sums, are infinite. */
const SIZES = [1, 1, 1, 0.02, 0.02, 1e-44, 1e-40, 1e-30, 1e-19, 1e-8, 1e-6, 1e-4, 1e4, 1e7, 1e15, 1e19, 1e30, 1e38]

const IMPORTANCES: readonly ((random: Random, place: number) => number)[] = [
  ({ gaussian }) => Math.exp(gaussian()),
  ({ gaussian }) => Math.exp(gaussian()),
  ({ gaussian }) => Math.exp(4 * gaussian()),
  () => 1,
  () => 0,
  ({ uniform }) => (uniform() < 0.5 ? 0 : uniform()),
  ({ uniform }) => (uniform() < 0.03 ? 1 : 0),
  (_, place) => (place % 64 < 32 ? 0 : 1),
  ({ gaussian }) => 1e-30 * Math.exp(gaussian()),
  ({ gaussian }) => 1e30 * Math.exp(gaussian()),
  ({ uniform }) => 1e-42 * uniform(),
  ({ uniform }) => 10 ** Math.floor(20 * uniform() - 10),
  ({ gaussian }) => gaussian() ** 2,
]

const ROWS = [256, 512, 1024, 2048]
const LARGEST = 3.4e38

/** The same for the same seed. @param elements a multiple of 2048 */
export function randomRows(seed: number, elements: number): RandomRows {
  const random = randomOf(seed)
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random.uniform() * list.length)] as T
  const rowElements = pick(ROWS)
  const size = pick(SIZES)
  const values = new Float32Array(elements)
  for (let first = 0; first < elements; first += 256) {
    if (random.uniform() < 0.05) fillWithAnyBits(values.subarray(first, first + 256), random)
    else fill(values.subarray(first, first + 256), pick(KINDS), size, random)
  }
  const importanceOf = pick(IMPORTANCES)
  return {
    values,
    rowElements,
    importance: Float32Array.from({ length: rowElements }, (_, place) => importanceOf(random, place)),
  }
}

function fill(values: Float32Array, kind: Kind, size: number, random: Random): void {
  const group = random.uniform() < 0.5 ? 16 : 32
  let shared = 0
  for (let i = 0; i < values.length; i++) {
    if (i % group === 0) shared = random.gaussian()
    values[i] = Math.min(LARGEST, Math.max(-LARGEST, size * kind(random, shared, i % group)))
  }
}

/** Any numbers that f32 has, but for those that are none. */
function fillWithAnyBits(values: Float32Array, { bits }: Random): void {
  const patterns = new Uint32Array(values.buffer, values.byteOffset, values.length)
  for (let i = 0; i < values.length; i++) {
    do patterns[i] = bits()
    while (!Number.isFinite(values[i]))
  }
}

function randomOf(seed: number): Random {
  const bits = randomBits(seed)
  const uniform = (): number => bits() / 2 ** 32
  return {
    bits,
    uniform,
    gaussian: () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()),
    sign: () => (uniform() < 0.5 ? -1 : 1),
  }
}
