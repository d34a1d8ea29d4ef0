import { printable } from './errors.js'

/** What a value is, in a few words, for the end of a message: `..., found a promise`. */
export function found(value: unknown): string {
  if (typeof value === 'string') return value === '' ? 'an empty text' : `the text "${printable(value)}"`
  if (typeof value === 'function') return 'a function'
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value !== 'object' || value === null) return String(value)
  if (isUrl(value)) return `the URL ${printable(value.href)}`
  if (isPromise(value)) return 'a promise'
  if (Array.isArray(value)) return 'an array'
  const { constructor } = value as { constructor?: unknown }
  const name = typeof constructor === 'function' ? constructor.name : ''
  return name === '' || name === 'Object' ? 'an object' : `an object of the class ${printable(name)}`
}

/** Whether a value is a URL, also one of another realm. */
export function isUrl(value: unknown): value is URL {
  const { href, protocol } = (value ?? {}) as Partial<URL>
  return typeof value === 'object' && typeof href === 'string' && typeof protocol === 'string'
}

/** Whether a value is a promise, or is one to `await`. */
export function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && typeof (value as Partial<PromiseLike<unknown>> | null)?.then === 'function'
}

/** Whether a value is an object of named fields: not an array, Map, promise or the like, whose fields say nothing. */
export function isFields(value: unknown): value is Readonly<Record<string, unknown>> {
  return ['[object Object]', '[object Module]'].includes(Object.prototype.toString.call(value)) && !isPromise(value)
}
