/**
 * The face of a stage: one of Node's own streams before one of streamx. streamx runs the stage, counts what it queues in
 * bytes and gives it one life cycle; what users, `pipeline`, `compose` and web streams meet is Node's class itself. A
 * face queues nothing: it holds the record that passes, and no other.
 */
import { Duplex, Readable, Writable } from 'node:stream'
import type { Readable as InnerReadable, Transform as InnerTransform, Writable as InnerWritable } from 'streamx'
import { AprError } from '../model/errors.js'
import type { TensorRecord } from '../model/record.js'

type Records = NodeJS.AsyncIterator<TensorRecord>
type Done = (error?: Error | null) => void

/** A stream of tensor records: a Readable of Node's, in object mode. */
export interface TensorReadable extends Readable {
  [Symbol.asyncIterator](): Records
  // Node's types of `finished` and others ask for a stream of strings or buffers: the compiler takes this overload for it.
  [Symbol.asyncIterator]<T extends TensorRecord>(): NodeJS.AsyncIterator<T>
  iterator(options?: { destroyOnReturn?: boolean }): Records
}

/** A stage that takes tensor records and gives tensor records. */
export type TensorTransform = Duplex

/** A stage that takes tensor records and ends there. */
export type TensorWritable = Writable

/** Gives Node's face to a stage that makes records. */
export function readableFace(inner: InnerReadable): TensorReadable {
  return new ReadableFace(inner)
}

/** Gives Node's face to a stage that takes records and makes records. */
export function transformFace(inner: InnerTransform): TensorTransform {
  return new TransformFace(inner)
}

/** Gives Node's face to a stage that takes records. */
export function writableFace(inner: InnerWritable): TensorWritable {
  return new WritableFace(inner)
}

class ReadableFace extends Readable {
  readonly #inner: InnerReadable
  readonly #outlet: Outlet

  constructor(inner: InnerReadable) {
    super({ objectMode: true, highWaterMark: READABLE_RECORDS })
    this.#inner = inner
    this.#outlet = new Outlet(this, inner)
    inner.on('error', (error) => this.destroy(error))
  }

  override _read(): void {
    this.#outlet.read()
  }

  override _destroy(error: Error | null, done: Done): void {
    end(this.#inner, error, done)
  }

  override pipe<T extends NodeJS.WritableStream>(target: T, options?: { end?: boolean }): T {
    return this.#outlet.refuses(target) ? target : super.pipe(target, options)
  }

  override [Symbol.asyncIterator](): Records {
    return this.#outlet.isSpent ? refused() : closing(this, super[Symbol.asyncIterator]() as Records)
  }
}

class TransformFace extends Duplex {
  readonly #inner: InnerTransform
  readonly #outlet: Outlet
  readonly #inlet: Inlet

  constructor(inner: InnerTransform) {
    super({
      objectMode: true,
      readableHighWaterMark: READABLE_RECORDS,
      writableHighWaterMark: WRITABLE_RECORDS,
    })
    this.#inner = inner
    this.#outlet = new Outlet(this, inner)
    this.#inlet = new Inlet(this, inner)
    inner.on('error', (error) => this.destroy(error))
  }

  override _read(): void {
    this.#outlet.read()
  }

  override _write(record: unknown, _encoding: BufferEncoding, done: Done): void {
    this.#inlet.write(record, done)
  }

  override _final(done: Done): void {
    this.#inlet.final(done)
  }

  override _destroy(error: Error | null, done: Done): void {
    end(this.#inner, error, done)
  }

  override pipe<T extends NodeJS.WritableStream>(target: T, options?: { end?: boolean }): T {
    return this.#outlet.refuses(target) ? target : super.pipe(target, options)
  }

  override write(...args: [unknown, ...never[]]): boolean {
    this.#inlet.checkWritten()
    return super.write(...args)
  }

  override [Symbol.asyncIterator](): Records {
    return this.#outlet.isSpent ? refused() : closing(this, super[Symbol.asyncIterator]() as Records)
  }
}

class WritableFace extends Writable {
  readonly #inner: InnerWritable
  readonly #inlet: Inlet

  constructor(inner: InnerWritable) {
    super({ objectMode: true, highWaterMark: WRITABLE_RECORDS })
    this.#inner = inner
    this.#inlet = new Inlet(this, inner)
    inner.on('error', (error) => this.destroy(error))
  }

  override _write(record: unknown, _encoding: BufferEncoding, done: Done): void {
    this.#inlet.write(record, done)
  }

  override _final(done: Done): void {
    this.#inlet.final(done)
  }

  override _destroy(error: Error | null, done: Done): void {
    end(this.#inner, error, done)
  }

  override write(...args: [unknown, ...never[]]): boolean {
    this.#inlet.checkWritten()
    return super.write(...args)
  }
}

/** Node asks for the next record when it holds none: nothing is queued twice. */
const READABLE_RECORDS = 0
/** Node brings the next record when streamx wants it. */
const WRITABLE_RECORDS = 1

/** The side of a stage that gives records. */
class Outlet {
  readonly #face: Readable
  readonly #inner: InnerReadable
  #isUsed = false
  #target: object | undefined

  constructor(face: Readable, inner: InnerReadable) {
    this.#face = face
    this.#inner = inner
  }

  /** Whether it has given what it had: to somebody else. */
  get isSpent(): boolean {
    return this.#isUsed && (this.#face.destroyed || this.#face.readableEnded)
  }

  read(): void {
    if (this.#isUsed) {
      this.#inner.resume()
      return
    }
    // Only now: a stage opens what it works on when somebody listens.
    this.#isUsed = true
    this.#inner.on('data', (record) => {
      if (!this.#face.push(record) || this.#face.isPaused()) this.#inner.pause()
    })
    this.#inner.on('end', () => this.#face.push(null))
  }

  /** Whether records cannot go to this target; it gets the error then, as of a write behind its end. */
  refuses(target: NodeJS.WritableStream): boolean {
    if (this.#target === undefined && !this.isSpent) {
      this.#target = target
      const forget = (source: unknown): void => {
        if (source !== this.#face) return
        this.#target = undefined
        target.off('unpipe', forget)
      }
      target.on('unpipe', forget)
      return false
    }
    destroy(target, reused())
    return true
  }
}

/** The side of a stage that takes records. */
class Inlet {
  readonly #face: Writable
  readonly #inner: InnerWritable
  #isUsed = false
  #source: object | undefined
  /** To be called when the next record may come. */
  #done: Done | undefined

  constructor(face: Writable, inner: InnerWritable) {
    this.#face = face
    this.#inner = inner
    face.on('pipe', (source) => {
      const isSpent = face.writableEnded || (face.destroyed && this.#isUsed)
      if (isSpent || this.#source !== undefined) destroy(source, reused())
      else this.#source = source
    })
    face.on('unpipe', (source) => {
      if (this.#source === source) this.#source = undefined
    })
    inner.on('close', () => this.#next(face.errored))
  }

  write(record: unknown, done: Done): void {
    if (!this.#isUsed) {
      this.#isUsed = true
      this.#inner.on('drain', () => this.#next())
    }
    this.#done = done
    if (this.#inner.write(record)) this.#next()
  }

  final(done: Done): void {
    this.#inner.once('finish', done)
    this.#inner.end(undefined)
  }

  /** @throws AprError `APR_REUSED`: Node would drop the record without a word */
  checkWritten(): void {
    if (this.#face.writableFinished) throw reused()
  }

  #next(error?: Error | null): void {
    const done = this.#done
    this.#done = undefined
    done?.(error)
  }
}

/** Ends the stage behind a face, and waits until all that it holds is freed. */
function end(inner: InnerReadable | InnerWritable, error: Error | null, done: Done): void {
  let failure = error
  inner.on('error', (late) => (failure ??= late))
  if (inner.destroyed) done(failure)
  else inner.once('close', () => done(failure))
  inner.destroy(error)
}

function destroy(stream: unknown, error: Error): void {
  ;(stream as Partial<Writable>).destroy?.(error)
}

/** Ends the stage with the loop, also one that has not begun, and waits until it is closed: Node's iterator does not. */
function closing(face: Readable, records: Records): Records {
  const leave = records.return?.bind(records)
  return Object.assign(records, {
    async return(value?: unknown) {
      const result = await leave?.(value)
      face.destroy()
      if (!face.closed) await new Promise<void>((done) => face.once('close', done))
      return result
    },
  })
}

/** What iterates over a stage that is spent. */
async function* refused(): AsyncGenerator<never> {
  yield await Promise.reject(reused())
}

function reused(): AprError {
  return new AprError(
    'APR_REUSED',
    'expected a stage of this pipeline alone, found one that another pipeline uses or has used: make a new one for each',
  )
}
