/** Key-value pairs as they gather: a key that is set again keeps its place. */
import { arrayKv, kv, type Kv, type KvScalar, type ScalarType } from '../formats/formats.js'

export class KvList {
  readonly #kvs = new Map<string, Kv>()

  set(key: string, type: ScalarType, value: KvScalar): void {
    this.#kvs.set(key, kv(key, type, value))
  }

  setArray(key: string, type: ScalarType, values: readonly KvScalar[]): void {
    this.#kvs.set(key, arrayKv(key, type, values))
  }

  /** Sets a pair that is made already. */
  add(pair: Kv): void {
    this.#kvs.set(pair.key, pair)
  }

  /** Sets the value where there is one. */
  setIf(key: string, type: ScalarType, value: KvScalar | undefined): void {
    if (value !== undefined) this.set(key, type, value)
  }

  toArray(): Kv[] {
    return [...this.#kvs.values()]
  }
}
