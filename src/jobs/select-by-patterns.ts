/** Globs as a rule that says which tensors are quantized: unlike a function, they can be written down. */
import type { TensorInfo } from '../model/tensor.js'
import { AprError, printable } from '../model/errors.js'
import type { WarningSelect } from './warnings.js'
import type { Select } from '../quant/policy.js'

/** Names that the braces of one pattern may stand for: `{1..1000000000}` would take the memory of the machine. */
const MAX_ALTERNATIVES = 10_000

interface Pattern {
  /** As its user knows it. */
  readonly flag: string
  readonly matches: (name: string) => boolean
}

/**
 * The tensors that `rule` takes, of these the ones that match one of `only`, without those that match one of `skip`.
 *
 * @param names what the two are called in messages
 * @throws AprError `APR_BAD_OPTION` for a pattern that is none
 */
export async function selectByPatterns(
  rule: Select,
  only: readonly string[] = [],
  skip: readonly string[] = [],
  names: { readonly only: string; readonly skip: string } = { only: 'only', skip: 'skip' },
): Promise<Select> {
  if (only.length + skip.length === 0) return rule
  const onlyPatterns = await compile(names.only, only)
  const skipPatterns = await compile(names.skip, skip)
  const isAmong = (patterns: readonly Pattern[], name: string) => patterns.some(({ matches }) => matches(name))
  const select = (tensor: TensorInfo): boolean =>
    rule(tensor) && (only.length === 0 || isAmong(onlyPatterns, tensor.name)) && !isAmong(skipPatterns, tensor.name)
  const warningsFor: WarningSelect['warningsFor'] = (tensors) =>
    [...onlyPatterns, ...skipPatterns]
      .filter(({ matches }) => !tensors.some(({ name }) => matches(name)))
      .map(({ flag }) => `${flag} matches no tensor`)
  return Object.assign(select, { warningsFor })
}

async function compile(flag: string, patterns: readonly string[]): Promise<Pattern[]> {
  const { Minimatch } = await import('minimatch')
  return patterns.map((pattern) => {
    let glob: InstanceType<typeof Minimatch>
    try {
      glob = new Minimatch(asFileName(pattern), { braceExpandMax: MAX_ALTERNATIVES + 1 })
    } catch (error) {
      throw new AprError('APR_BAD_OPTION', `${flag}: ${(error as Error).message}`, {}, { cause: error })
    }
    if (glob.set.length > MAX_ALTERNATIVES) {
      throw new AprError(
        'APR_BAD_OPTION',
        `${flag} '${printable(pattern)}': expected braces that stand for at most ${MAX_ALTERNATIVES} names, found more`,
      )
    }
    return { flag: `${flag} '${printable(pattern)}'`, matches: (name) => glob.match(asFileName(name)) }
  })
}

/**
 * A tensor's name has no folders: `*` and `?` are to match a slash too. So slashes become a character that means nothing
 * to a glob, in name and pattern. One in front keeps a dot, `!` or `#` at the start from what it means in paths.
 */
function asFileName(text: string): string {
  return `_${text.replaceAll('/', '\uE000')}`
}
