/** Takes pairs of values as they come, consecutive ones of one tensor, and makes a tally of them. */
import { createErrorKernel, type ErrorKernel } from './error-kernel.js'
import { addSums } from './sums.js'
import { addOpenRow, newTally, noteGreatest, noteNotFinite, type Rows, type Tally } from './tally.js'

/** Which elements come. */
export interface Stretch {
  /** Of the first one, counted from the tensor's. */
  readonly first: number
  readonly rows: Rows
  /** Elements of a block of `b`; 1 where it has none. */
  readonly blockElements: number
  readonly isWeighted: boolean
}

const GROUP = 32

export class Meter {
  /** Its `a`, `b` and `importance` take the next pairs, as many as they are long at the most. */
  readonly kernel: ErrorKernel = createErrorKernel()
  #stretch: Stretch = {
    first: 0,
    rows: { columns: 1, matrixRows: 1, matrices: 1 },
    blockElements: 1,
    isWeighted: false,
  }
  #tally: Tally = newTally()
  #next = 0
  /** Elements of the row under way that have come. */
  #rowElements = 0

  begin(stretch: Stretch): void {
    this.#stretch = stretch
    this.#next = stretch.first
    this.#tally = newTally()
    this.#rowElements = 0
    this.kernel.sums.fill(0)
  }

  /** Takes the first `count` pairs of the kernel's. */
  take(count: number): void {
    const { columns } = this.#stretch.rows
    for (let start = 0; start < count;) {
      const inRow = (this.#next + start) % columns
      const size = Math.min(columns - inRow, count - start)
      if (this.#stretch.blockElements > 1) this.#countLost(start, size, inRow)
      this.#measure(start, size, inRow)
      this.#rowElements += size
      start += size
      if (inRow + size === columns) this.#endRow(this.#next + start - 1)
    }
    const greatest = this.kernel.takeGreatest()
    if (greatest) {
      const { error, index } = greatest
      const { a, b } = this.kernel
      noteGreatest(this.#tally, { error, element: this.#next + index, w: a[index] as number, v: b[index] as number })
    }
    this.#next += count
    this.#tally.elements += count
  }

  end(): Tally {
    if (this.#rowElements > 0) this.#endRow(this.#next - 1)
    this.kernel.takeCounts(this.#tally.magnitudes, this.#tally.errors)
    return this.#tally
  }

  #measure(start: number, size: number, inRow: number): void {
    const end = start + size
    for (let first = start; first < end;) {
      const inThisRow = inRow + first - start
      const bad = this.kernel.measure(first, end - first, inThisRow, this.#stretch.isWeighted)
      if (bad < 0) return
      // Once more, without the pairs that are no numbers: as zeros they change nothing.
      const groupEnd = Math.min(end, bad + GROUP - ((inRow + bad - start) % GROUP))
      this.#leaveOut(bad, groupEnd)
      first = bad
    }
  }

  #leaveOut(first: number, end: number): void {
    const { a, b } = this.kernel
    for (let i = first; i < end; i++) {
      const [w, v] = [a[i] as number, b[i] as number]
      const [inA, inB] = [Number(!Number.isFinite(w)), Number(!Number.isFinite(v))]
      if (inA + inB === 0) continue
      noteNotFinite(this.#tally, { element: this.#next + i, w, v, pairs: 1, inA, inB })
      a[i] = 0
      b[i] = 0
    }
  }

  #endRow(element: number): void {
    const { rows } = this.#stretch
    const { sums } = this.kernel
    addSums(this.#tally.sums, sums)
    const row = Math.floor(element / rows.columns)
    addOpenRow(this.#tally, { row, elements: this.#rowElements, sums }, rows)
    this.#rowElements = 0
    sums.fill(0)
  }

  /** Blocks that start and end here. */
  #countLost(start: number, size: number, inRow: number): void {
    const { blockElements, rows } = this.#stretch
    const { a, b } = this.kernel
    const isRowEnd = inRow + size === rows.columns
    const skipped = (blockElements - (inRow % blockElements)) % blockElements
    for (let block = start + skipped; block < start + size; block += blockElements) {
      const end = Math.min(block + blockElements, start + size)
      if (b[block] !== 0 || (end < block + blockElements && !isRowEnd)) continue
      if (isZero(b, block, end) && !isZero(a, block, end)) this.#tally.lostBlocks++
    }
  }
}

function isZero(values: Float32Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if (values[i] !== 0) return false
  return true
}
