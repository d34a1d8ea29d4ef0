import type { RecipeName, TargetDType } from '../names.js'

/** What was chosen, and what the named recipe of that size would have. */
export interface TypeChoice {
  /** The largest recipe that keeps to the budget, or the one that was asked for: what the file says that it is. */
  readonly recipe: RecipeName
  /** Bytes of the output with it; more than the budget where no recipe keeps to it. */
  readonly recipeBytes: number
  /** What its errors would cost, and what the chosen types' do: KL in nats a token, as far as sensitivities tell. */
  readonly recipeKl: number
  readonly expectedKl: number
  /** Patterns and dtypes, as the option `types` takes them. */
  readonly types: Readonly<Record<string, TargetDType>>
}
