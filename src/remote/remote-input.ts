/** A model that is somewhere else: a file or a folder, and the files beside it. */
import { checkFileName, type ModelInput } from '../formats/format.js'
import type { ByteSource } from '../model/byte-source.js'
import { AprError, printable } from '../model/errors.js'
import { fileNameOf, withoutSecrets, type RemoteAddress } from './address.js'
import { urlLocator, type Locator } from './http/locator.js'
import { openRanges, type Patience } from './http/ranges.js'
import { findOnHub, hubLocator, hubName, listHub } from './hub/hub.js'
import { listS3, s3Locator } from './s3/objects.js'
import { s3Name, s3Place } from './s3/place.js'

export interface RemoteOptions extends Patience {
  /** Sent with every request of an `https:` URL, and to no other host. */
  readonly headers?: Readonly<Record<string, string>> | undefined
}

/** A place that has folders, as the Hub and S3 have. Paths in it have no slash in front. */
interface Store {
  /** Of the whole, or of a path in it: pinned to what was found. */
  name(path: string): string
  locator(path: string): Locator
  /** Whether `list` tells nothing. */
  readonly isUnlisted: boolean
  list(folder: string): Promise<readonly string[]>
}

/** A store, and what of it is meant. */
interface Found {
  readonly store: Store
  readonly path: string
  readonly folderName: string
}

/** @throws AprError `APR_REMOTE`, `APR_BAD_OPTION` */
export async function openRemoteSource(address: RemoteAddress, options: RemoteOptions = {}): Promise<ByteSource> {
  const { store, path } = await find(address, options)
  return await openRanges(store.locator(path), options)
}

/**
 * Opens a file, or takes a folder as it is: on the Hub a model without a file, elsewhere what ends with a slash.
 * @param wrap puts a source of the caller's own before each that is opened
 */
export async function openRemoteInput(
  address: RemoteAddress,
  wrap: (source: ByteSource) => ByteSource = (source) => source,
  options: RemoteOptions = {},
): Promise<ModelInput> {
  const { store, path, folderName } = await find(address, options)
  const isFolder = path === '' || path.endsWith('/')
  const folder = isFolder ? path : path.slice(0, path.lastIndexOf('/') + 1)
  const file = isFolder ? undefined : wrap(await openRanges(store.locator(path), options))
  const fileName = isFolder ? '' : path.slice(folder.length)
  return new RemoteInput({ store, folder, file, fileName, folderName, wrap, patience: options })
}

async function find({ url }: RemoteAddress, options: RemoteOptions): Promise<Found> {
  if (/^hf:/i.test(url)) {
    const place = await findOnHub(url, options)
    const store: Store = {
      name: (path) => hubName(place, path),
      locator: (path) => hubLocator(place, path),
      isUnlisted: false,
      list: (folder) => listHub(place, folder.replace(/\/$/, ''), options),
    }
    return { store, path: place.path, folderName: lastFolder(place.path, place.repository) }
  }
  if (/^s3:/i.test(url)) {
    const { bucket, key } = s3Place(url)
    const at = (path: string): { bucket: string; key: string } => ({ bucket, key: path })
    const store: Store = {
      name: (path) => s3Name(at(path)),
      locator: (path) => s3Locator(at(path)),
      isUnlisted: false,
      list: (folder) => listS3(at(folder)),
    }
    return { store, path: key, folderName: lastFolder(key, bucket) }
  }
  return findByUrl(url, options)
}

/** What a plain server has in a folder nobody tells: files in it are asked for by their names. */
function findByUrl(text: string, { headers = {} }: RemoteOptions): Found {
  if (!URL.canParse(text)) {
    throw new AprError('APR_BAD_OPTION', `expected a URL, found "${printable(withoutSecrets(text))}"`)
  }
  const url = new URL(text)
  const base = `${url.origin}/`
  const at = (path: string): string => {
    // The query of the one file that was asked for may be what lets it be read.
    const whole = new URL(path, base)
    if (whole.pathname === url.pathname) whole.search = url.search
    whole.username = url.username
    whole.password = url.password
    return whole.href
  }
  const store: Store = {
    name: (path) => withoutSecrets(base + path),
    locator: (path) => urlLocator(at(path), headers, withoutSecrets(base + path)),
    isUnlisted: true,
    list: () => Promise.resolve([]),
  }
  const path = url.pathname.slice(1)
  return { store, path, folderName: lastFolder(path, '') }
}

/** Name of the folder that a path is in, or that it is. */
function lastFolder(path: string, root: string): string {
  return path.split('/').slice(0, -1).at(-1) ?? root.split('/').at(-1) ?? ''
}

interface Parts {
  readonly store: Store
  /** '' or with a slash at its end. */
  readonly folder: string
  readonly file: ByteSource | undefined
  readonly fileName: string
  readonly folderName: string
  readonly wrap: (source: ByteSource) => ByteSource
  readonly patience: Patience
}

class RemoteInput implements ModelInput {
  readonly name: string
  readonly file: ByteSource | undefined
  readonly fileName: string
  readonly folderName: string
  readonly isUnlisted: boolean
  readonly #parts: Parts
  readonly #sources: ByteSource[] = []
  readonly #lists = new Map<string, Promise<readonly string[]>>()
  #isClosed = false

  constructor(parts: Parts) {
    const { store, folder, file, fileName, folderName } = parts
    this.#parts = parts
    this.file = file
    this.fileName = fileName === '' ? '' : fileNameOf(store.name(folder + fileName))
    this.folderName = folderName
    this.isUnlisted = store.isUnlisted
    this.name = store.name(folder + fileName)
    if (file) this.#sources.push(file)
  }

  list(inside = ''): Promise<readonly string[]> {
    const { store, folder } = this.#parts
    const listed = this.#lists.get(inside) ?? store.list(inside === '' ? folder : `${folder}${inside}/`)
    this.#lists.set(inside, listed)
    return listed
  }

  async open(fileName: string, inside = ''): Promise<ByteSource | undefined> {
    checkFileName(fileName, this.name)
    const { store, folder, wrap, patience } = this.#parts
    const listed = await this.list(inside)
    // Where nobody tells what there is, asking is the way to know.
    if (!store.isUnlisted && !listed.includes(fileName)) return undefined
    const path = `${folder}${inside === '' ? '' : `${inside}/`}${fileName}`
    const opened = await openRanges(store.locator(path), patience).catch((error: unknown) => {
      if (store.isUnlisted && error instanceof AprError && /found (404|410)\b/.test(error.what)) return undefined
      throw error
    })
    if (!opened) return undefined
    const source = wrap(opened)
    this.#sources.push(source)
    if (this.#isClosed) await source.close()
    return source
  }

  async checkUnchanged(): Promise<void> {
    for (const source of this.#sources) await source.checkUnchanged?.()
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    await Promise.all(this.#sources.map((source) => source.close()))
  }
}
