/** Which tensors get more bits, or less, than a recipe's default: llama-quantize's rules, kind of tensor by kind. */
import { layerOf, type Category } from './categories.js'
import type { Hyperparameters } from './hyperparameters.js'
import { RECIPES, type RecipeName, type TargetDType } from './names.js'

/** A dtype, and the rule that says so in a few words. */
interface Ruling {
  readonly dtype: TargetDType
  readonly rule: string
}

/** What a rule looks at. */
interface Situation extends Hyperparameters {
  /** Which one of its kind the tensor is, and of how many. */
  readonly index: number
  readonly count: number
  readonly hasMatrix: boolean
}

type Rule = (situation: Situation) => TargetDType | undefined
type Rules = Readonly<Partial<Record<RecipeName, Rule>>>

/** The first and the last eighth, and every third in between. */
function isSensitive({ index, count }: Situation): boolean {
  const eighth = Math.floor(count / 8)
  return index < eighth || index >= Math.floor((7 * count) / 8) || (index - eighth) % 3 === 2
}

function isFirst(part: number): (situation: Situation) => boolean {
  return ({ index, count }) => index < Math.floor(count / part)
}

const isFalcon = ({ architecture }: Situation): boolean => architecture === 'falcon'
const isShared = ({ headsPerKv }: Situation): boolean => headsPerKv >= 4
const inFirstEighth = isFirst(8)
const inFirstSixteenth = isFirst(16)

const forShared: Rule = (it) => (isShared(it) ? 'Q5_K' : undefined)
const forSensitive: Rule = (it) => (isSensitive(it) ? 'Q6_K' : undefined)
const forFirstWithoutMatrix: Rule = (it) => (inFirstEighth(it) && !it.hasMatrix ? 'Q5_K' : undefined)

const VALUES: Rules = {
  Q2_K: (it) => (isShared(it) ? 'Q4_K' : 'Q3_K'),
  Q2_K_S: (it) => (isShared(it) ? 'Q4_K' : undefined),
  Q3_K_M: ({ index }) => (index < 2 ? 'Q5_K' : 'Q4_K'),
  Q3_K_L: () => 'Q5_K',
  IQ4_XS: forShared,
  IQ4_NL: forShared,
  Q4_K_S: ({ index }) => (index < 4 ? 'Q5_K' : undefined),
  Q4_K_M: forSensitive,
  Q5_K_M: forSensitive,
}

const DOWN: Rules = {
  Q2_K: () => 'Q3_K',
  Q2_K_S: (it) => (inFirstEighth(it) ? 'Q4_K' : undefined),
  Q3_K_M: (it) => (inFirstSixteenth(it) ? 'Q5_K' : !isFalcon(it) || isSensitive(it) ? 'Q4_K' : 'Q3_K'),
  Q3_K_L: (it) => (isFalcon(it) ? 'Q4_K' : 'Q5_K'),
  IQ4_XS: forFirstWithoutMatrix,
  IQ4_NL: forFirstWithoutMatrix,
  // A matrix may drive these two crazy in the first layers.
  Q4_0: (it) => (inFirstEighth(it) && it.hasMatrix ? 'Q4_1' : undefined),
  Q5_0: (it) => (inFirstEighth(it) && it.hasMatrix ? 'Q5_1' : undefined),
  Q4_K_S: (it) => (inFirstEighth(it) && !isFalcon(it) ? 'Q5_K' : undefined),
  Q4_K_M(it) {
    if (!isFalcon(it)) return forSensitive(it)
    return inFirstSixteenth(it) ? 'Q6_K' : isSensitive(it) ? 'Q5_K' : 'Q4_K'
  },
  Q5_K_M: forSensitive,
}

const ATTENTION_OUTPUT: Rules = { Q2_K: () => 'Q3_K', Q3_K_M: () => 'Q4_K', Q3_K_L: () => 'Q5_K' }
const ATTENTION_OUTPUT_OF_FALCON: Rules = { Q3_K_L: () => 'Q4_K' }
const ofEight: Rule = () => 'Q5_K'
const ATTENTION_OUTPUT_OF_EIGHT: Rules = {
  ...{ Q2_K: ofEight, Q3_K_S: ofEight, Q3_K_M: ofEight, IQ4_XS: ofEight, IQ4_NL: ofEight },
  ...{ Q4_K_S: ofEight, Q4_K_M: ofEight },
}

export interface RuleSettings {
  readonly name: RecipeName
  readonly hyperparameters: Hyperparameters
  /** Whether there is an importance matrix. */
  readonly hasMatrix: boolean
  /** Tensors of attention values. */
  readonly values: number
}

interface RuledTensor {
  readonly name: string
  readonly category: Category
  /** Whether it is the output: that may be the embedding too. */
  readonly isOutput: boolean
  /** Whether its rows can be of the recipe's default. */
  readonly fits: boolean
}

/**
 * The rules of a recipe. They count as they go: ask once for each tensor that they are to decide, in the order of the file,
 * and for no other.
 */
export class RuleBook {
  readonly #settings: RuleSettings
  readonly #default: Ruling
  #values = 0
  #down = 0

  constructor(settings: RuleSettings) {
    this.#settings = settings
    this.#default = { dtype: RECIPES[settings.name].dtype, rule: `default of ${settings.name}` }
  }

  /** @throws RangeError whose message says what is wrong with the tensor's name */
  choose({ name, category, isOutput, fits }: RuledTensor): Ruling {
    if (isOutput) return this.#output(category, fits)
    if (category === 'attn_v') return this.#value()
    if (category === 'ffn_down') return this.#ffnDown(name)
    if (category === 'attn_output') return this.#attentionOutput()
    // Nothing but a name that the reference refuses is found.
    if (category === 'ffn_gate' || category === 'ffn_up') this.#checkLayer(name)
    const { experts } = this.#settings.hyperparameters
    if (category === 'attn_k' && experts === 8) return { dtype: 'Q8_0', rule: 'attn_k beside 8 experts' }
    return this.#default
  }

  #output(category: Category, fits: boolean): Ruling {
    const tied = category === 'token_embd' ? 'token_embd, which is the output too' : 'output'
    if (!fits) return { dtype: 'Q8_0', rule: `${tied}: its rows are not whole blocks of ${this.#default.dtype}` }
    if (this.#settings.hyperparameters.architecture === 'falcon') return { dtype: 'Q8_0', rule: `${tied} of falcon` }
    return { dtype: this.#default.dtype === 'Q8_0' ? 'Q8_0' : 'Q6_K', rule: tied }
  }

  #value(): Ruling {
    const { hyperparameters, values: count } = this.#settings
    const chosen = this.#apply(VALUES, { index: this.#values++, count }, 'attn_v')
    if (hyperparameters.experts === 8) return { dtype: 'Q8_0', rule: 'attn_v beside 8 experts' }
    const isSmall = chosen.dtype === 'Q3_K' || chosen.dtype === 'Q4_K'
    return hyperparameters.is70B && isSmall ? { dtype: 'Q5_K', rule: 'attn_v of a 70B model' } : chosen
  }

  #ffnDown(name: string): Ruling {
    const { layers } = this.#settings.hyperparameters
    const counted = this.#down++
    return this.#apply(DOWN, { index: this.#checkLayer(name) ?? counted, count: layers }, 'ffn_down')
  }

  #attentionOutput(): Ruling {
    const { architecture, experts } = this.#settings.hyperparameters
    const isOfFalcon = architecture === 'falcon'
    const ofExperts = experts === 8 ? ATTENTION_OUTPUT_OF_EIGHT : ATTENTION_OUTPUT
    const subject = experts === 8 && !isOfFalcon ? 'attn_output beside 8 experts' : 'attn_output'
    return this.#apply(isOfFalcon ? ATTENTION_OUTPUT_OF_FALCON : ofExperts, { index: 0, count: 0 }, subject)
  }

  #apply(rules: Rules, place: Pick<Situation, 'index' | 'count'>, subject: string): Ruling {
    const { name, hyperparameters, hasMatrix } = this.#settings
    const dtype = rules[name]?.({ ...hyperparameters, ...place, hasMatrix })
    return dtype === undefined ? this.#default : { dtype, rule: subject }
  }

  /** Among experts the layer is that of the name, for they need not come in order. */
  #checkLayer(name: string): number | undefined {
    const { experts, layers } = this.#settings.hyperparameters
    if (experts <= 1) return undefined
    const layer = layerOf(name)
    if (layer >= 0 && layer < layers) return layer
    throw new RangeError(layer < 0 ? 'no layer in its name' : `layer ${layer} of ${layers}`)
  }
}
