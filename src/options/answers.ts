/** What functions of the caller's may answer. A wrong answer, taken as it comes, would make a wrong file in silence. */
import { AprError } from '../model/errors.js'
import { found, isFields, isPromise } from '../model/found.js'
import type { DType } from '../model/dtypes.js'
import type { TensorInfo } from '../model/tensor.js'

/** Checks an answer and gives it on. The arguments are those that were asked with. */
export type AnswerCheck<Arguments extends unknown[], Answer> = (
  name: string,
  answer: unknown,
  ...asked: Arguments
) => Answer

/**
 * The same function, with its answers checked.
 * @param name names it in messages
 * @throws AprError `APR_BAD_OPTION` when it is none
 */
export function answering<Arguments extends unknown[], Answer>(
  name: string,
  callback: (...asked: Arguments) => unknown,
  check: AnswerCheck<Arguments, Answer>,
): (...asked: Arguments) => Answer {
  if (typeof callback !== 'function') {
    throw new AprError('APR_BAD_OPTION', `expected ${name} to be a function, found ${found(callback)}`)
  }
  const checked = (...asked: Arguments): Answer => check(name, callback(...asked), ...asked)
  // What it says besides its answers: see `Select`.
  return Object.assign(checked, callback)
}

/** `true` or `false`, and nothing that is only taken for one of them. */
export function trueOrFalse(name: string, answer: unknown, tensor: TensorInfo): boolean {
  if (typeof answer === 'boolean') return answer
  throw wrong(name, 'true or false', answer, tensor)
}

/** Anything that is there at once: it is not looked at. */
export function nothing(name: string, answer: unknown): void {
  if (isPromise(answer)) throw wrong(name, 'nothing', answer)
}

/** The fields of a tensor that change; what is missing or undefined stays. */
export interface TensorChange {
  name?: string | undefined
  dtype?: DType | undefined
  shape?: readonly number[] | undefined
}

const TENSOR_FIELDS = ['name', 'dtype', 'shape', 'size']

/**
 * An object with `name`, `dtype` and `shape`, or some of them; `size` may be there as well, as it was.
 * @returns all three, with those of the tensor where they stay
 */
export function tensorChange(name: string, answer: unknown, tensor: TensorInfo): Omit<TensorInfo, 'size'> {
  if (!isFields(answer)) throw wrong(name, 'an object', answer, tensor)
  const unknown = Object.keys(answer).find((field) => !TENSOR_FIELDS.includes(field))
  if (unknown !== undefined) throw wrong(name, 'no fields but name, dtype and shape', unknown, tensor)
  const { name: newName = tensor.name, dtype = tensor.dtype, shape = tensor.shape, size = tensor.size } = answer
  if (typeof newName !== 'string') throw wrong(name, 'a name that is a text', newName, tensor)
  if (typeof dtype !== 'string') throw wrong(name, 'a dtype that is a text', dtype, tensor)
  if (size !== tensor.size) throw wrong(name, `the size that it was given, ${tensor.size} bytes`, size, tensor)
  return {
    name: newName,
    dtype: dtype as DType,
    shape: shape === tensor.shape ? tensor.shape : newShape(name, shape, tensor),
  }
}

/** A copy, so that nothing the caller does to its own later matters. */
function newShape(name: string, value: unknown, tensor: TensorInfo): readonly number[] {
  if (!Array.isArray(value)) throw wrong(name, 'a shape that is an array', value, tensor)
  // A hole becomes undefined, which is no dimension.
  const dimensions: unknown[] = [...(value as unknown[])]
  if (dimensions.every(isDimension)) return Object.freeze(dimensions)
  const bad = dimensions.find((dimension) => !isDimension(dimension))
  throw wrong(name, 'a shape of whole numbers, 0 or more', bad, tensor)
}

function isDimension(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

/** An object, or undefined where nothing changes. What JSON cannot hold in it is found when it is made text. */
export function metadataChange(name: string, answer: unknown): Readonly<Record<string, unknown>> | undefined {
  if (answer === undefined || isFields(answer)) return answer
  throw wrong(name, 'an object or undefined', answer)
}

function wrong(name: string, expected: string, answer: unknown, tensor?: TensorInfo): AprError {
  // Nobody will await it: its own failure must not end the process.
  if (isPromise(answer)) void Promise.resolve(answer).catch(() => undefined)
  const what = `expected ${name} to return ${expected}${isPromise(answer) ? ' at once' : ''}, found ${found(answer)}`
  return new AprError('APR_BAD_OPTION', what, { tensor: tensor?.name })
}
