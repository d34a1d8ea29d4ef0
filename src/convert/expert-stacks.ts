/** Experts that stand one by one: those of a layer become one tensor of each kind. */
import { elementCount, type TensorInfo } from '../model/tensor.js'
import type { ExpertNames } from './architectures/architecture.js'
import type { Piece } from './tensor-plan.js'

export interface Stack {
  /** As the table of names has it, with its suffix. */
  readonly name: string
  readonly shape: readonly number[]
  readonly pieces: readonly Piece[]
}

export class ExpertStacks {
  readonly #names: ExpertNames
  readonly #count: number
  readonly #pattern: RegExp
  /** By layer, then by kind and number. */
  readonly #layers = new Map<string, Map<string, TensorInfo>>()
  /** Experts that are not of the shape of the others. */
  readonly misfits: string[] = []

  constructor(names: ExpertNames, count: number) {
    this.#names = names
    this.#count = count
    const prefix = names.prefix.replaceAll('.', '\\.')
    this.#pattern = new RegExp(`^(.*\\.${prefix})\\.(0|[1-9]\\d*)\\.(${names.kinds.join('|')})\\.weight$`)
  }

  /**
   * Takes an expert's matrix. They stand in the file where the last of their layer has come.
   * @param name the source's name as the table would have it
   * @returns undefined for what is no expert; the layer's tensors, when they are complete
   */
  take(name: string, source: TensorInfo): Stack[] | 'waits' | undefined {
    const [, layer, expert, kind] = this.#pattern.exec(name) ?? []
    if (layer === undefined || Number(expert) >= this.#count) return undefined
    const found = this.#layers.get(layer) ?? new Map<string, TensorInfo>()
    this.#layers.set(layer, found.set(`${kind ?? ''} ${Number(expert)}`, source))
    const { kinds } = this.#names
    if (found.size < this.#count * kinds.length) return 'waits'
    this.#layers.delete(layer)
    return kinds.map((one) => {
      const experts = Array.from({ length: this.#count }, (_, e) => found.get(`${one} ${e}`)).filter(
        (e) => e !== undefined,
      )
      const [first] = experts
      const others = experts.filter(({ shape }) => String(shape) !== String(first?.shape))
      this.misfits.push(...others.map(({ name: other, shape }) => `${other} [${shape.join(', ')}]`))
      return stackOf(`${layer}.${one}.weight`, experts)
    })
  }

  /** What is missing of the layers that are not complete. */
  unfinished(): string[] {
    const { kinds } = this.#names
    return [...this.#layers].flatMap(([layer, found]) =>
      kinds.flatMap((kind) =>
        Array.from({ length: this.#count }, (_, e) => e)
          .filter((e) => !found.has(`${kind} ${e}`))
          .map((e) => `${layer}.${e}.${kind}.weight`),
      ),
    )
  }
}

function stackOf(name: string, experts: readonly TensorInfo[]): Stack {
  const shape = experts[0]?.shape ?? []
  let to = 0
  const pieces = experts.map((expert): Piece => {
    const elements = elementCount(expert.shape)
    const piece = { source: expert.name, from: 0, elements, to }
    to += elements
    return piece
  })
  return { name, shape: [experts.length, ...shape], pieces }
}
