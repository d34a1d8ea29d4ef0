/** JSON texts for property tests: made of parts that are known, so that it is known which bytes an edit may touch. */
import fc from 'fast-check'

export interface MemberText {
  /** The key that the text means, and the text: `"\u0061"` means `a`. */
  readonly key: string
  /** Key, colon and value, with whitespace between them. */
  readonly before: string
  readonly value: string
  /** Whitespace behind the value. */
  readonly after: string
}

export interface ObjectText {
  /** Whitespace before the object, its brace, and whitespace behind that. */
  readonly start: string
  readonly members: readonly MemberText[]
  /** The closing brace, and whitespace behind it. */
  readonly end: string
}

const whitespace = fc.string({ unit: fc.constantFrom(' ', '\t', '\n', '\r'), maxLength: 2 })

/** Keys that repeat often, some of them names that objects have by themselves. */
const keyName = fc.oneof(
  fc.constantFrom('a', 'b', 'param_count', 'license', '__proto__', 'constructor', 'toString', '', 'é', '😀', '"', '\\'),
  fc.string({ unit: 'grapheme', maxLength: 4 }),
)

/** The same key in another spelling: any character may be written as an escape. */
const keyText = keyName.chain((key) =>
  fc.array(fc.boolean(), { minLength: key.length, maxLength: key.length }).map((escaped) => {
    const units = Array.from({ length: key.length }, (_, i) => key.charCodeAt(i))
    const isPlain = escaped.every((flag) => !flag)
    const all = units.map((unit) => `\\u${unit.toString(16).padStart(4, '0')}`).join('')
    return { key, text: isPlain ? JSON.stringify(key) : `"${all}"` }
  }),
)

const numberText = fc.oneof(
  fc.constantFrom('1000000.0', '1e-06', '9007199254740993', '-0', '0.1e+10', '1E400', '-0.0', '123456789012345678901'),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => JSON.stringify(value)),
)

/** Any JSON value as text, with numbers that JSON.parse would change. */
export const valueText: fc.Arbitrary<string> = fc.letrec<{ value: string; array: string; object: string }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    numberText,
    fc.constantFrom('null', 'true', 'false', '""', '"}"', '"]"', '"\\"}"', '"\\u005d"', '"//"', '"\\ud800"'),
    fc.string({ unit: 'grapheme', maxLength: 5 }).map((text) => JSON.stringify(text)),
    tie('array'),
    tie('object'),
  ),
  array: fc
    .array(fc.tuple(whitespace, tie('value'), whitespace), { maxLength: 3 })
    .map((items) => `[${items.map((item) => item.join('')).join(',')}]`),
  object: fc
    .array(fc.tuple(whitespace, keyText, whitespace, tie('value')), { maxLength: 3 })
    .map(
      (items) => `{${items.map(([space, { text }, colon, value]) => `${space}${text}${colon}:${value}`).join(',')}}`,
    ),
})).value

export const objectText: fc.Arbitrary<ObjectText> = fc.record({
  start: fc.tuple(whitespace, whitespace).map(([outside, inside]) => `${outside}{${inside}`),
  members: fc.array(
    fc.tuple(whitespace, keyText, whitespace, whitespace, valueText, whitespace).map((parts): MemberText => {
      const [before, { key, text }, colon, space, value, after] = parts
      return { key, before: `${before}${text}${colon}:${space}`, value, after }
    }),
    { maxLength: 6 },
  ),
  end: whitespace.map((outside) => `}${outside}`),
})

/** Keys and values to set, or undefined to remove. */
export const changes: fc.Arbitrary<Record<string, unknown>> = fc
  .uniqueArray(fc.tuple(keyName, fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.constant(undefined))), {
    selector: ([key]) => key,
    maxLength: 4,
  })
  .map((entries) => Object.fromEntries(entries))

export function join({ start, members, end }: ObjectText): string {
  return start + members.map(({ before, value, after }) => before + value + after).join(',') + end
}
