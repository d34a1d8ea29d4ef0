/**
 * Deriving the model that a stage announces from the one that reached it, and at the end the model of what really came:
 * a stage of the user's may drop and change tensors without a word to the model.
 */
import { formatOf } from '../formats/formats.js'
import type { TensorInfo } from '../model/tensor.js'
import type { TensorRecord } from '../model/record.js'
import type { Model } from '../model/model.js'
import { checkNames } from '../model/names.js'
import { ArrivedTensors } from '../records/arrived-tensors.js'

/** What a stage makes of a model. Pure: the same model gives the same. */
type Derive = (model: Model) => Model

/** Where the model that a stage announces comes from. */
interface Derivation {
  readonly from: Model
  readonly intake: Intake
}

const derivations = new WeakMap<Model, Derivation>()

/**
 * The same model with other tensors, and with what its format tells of them.
 * @throws AprError `APR_BAD_INDEX` for two tensors of one name
 */
export function withTensors(model: Model, tensors: readonly TensorInfo[]): Model {
  checkNames(tensors)
  return formatOf(model).withTensors(model, tensors)
}

/** What a stage that changes the model takes in: it says what each record's model becomes, and notes what came. */
export class Intake {
  readonly #derive: Derive
  readonly #announce: Derive
  readonly #arrived = new ArrivedTensors()
  #isWhole = false

  /** @param derive called once a model, and once more at the end where something else came than was announced */
  constructor(derive: Derive) {
    this.#derive = derive
    this.#announce = oncePerModel((from) => {
      checkNames(from.tensors)
      const derived = derive(from)
      // Each stage announces a model of its own: what it was given stays what the stage before announced.
      const model = derived === from || derivations.has(derived) ? Object.freeze({ ...derived }) : derived
      derivations.set(model, { from, intake: this })
      return model
    })
  }

  /**
   * Takes note of a record.
   * @returns the model from here on
   * @throws AprError `APR_BAD_INDEX` for two tensors of one name, in the model or in what comes; what `derive` throws
   */
  take(record: TensorRecord): Model {
    const model = this.#announce(record.model)
    if (record.offset === 0) this.#arrived.add(record, record.model.tensors)
    return model
  }

  /** Nothing comes any more. */
  end(): void {
    this.#isWhole = true
  }

  /** What the stage had announced as `model` if all that came had been announced to it. */
  settle(model: Model, from: Model): Model {
    // What was not waited for is taken as it was announced.
    const settled = this.#isWhole ? settledModel(from, this.#arrived) : from
    return settled === from ? model : this.#derive(settled)
  }
}

/**
 * The model of what came to the end of a stream: that of the last record, as all the stages before would have announced
 * it had every tensor reached them as announced. It is `model` itself where every tensor has.
 */
export function settledModel(model: Model, arrived: ArrivedTensors): Model {
  const derivation = derivations.get(model)
  const settled = derivation ? derivation.intake.settle(model, derivation.from) : model
  const tensors = arrived.tensorsOr(settled.tensors)
  return tensors === settled.tensors ? settled : withTensors(settled, tensors)
}

/** Applies `derive` once a model: the records of a stream share theirs. */
export function oncePerModel<T>(derive: (model: Model) => T): (model: Model) => T {
  let last: { model: Model; result: T } | undefined
  return (model) => {
    if (last?.model !== model) last = { model, result: derive(model) }
    return last.result
  }
}
