/** Which sources are local files: others can open them again by their path. */
import type { ByteSource } from '../model/byte-source.js'

export interface LocalFile {
  readonly path: string
  /** Size and time of change: the same of a copy that keeps them, on any machine. */
  readonly version: string
}

const localFiles = new WeakMap<ByteSource, LocalFile>()

/** Takes note of what a source reads. */
export function setLocalFile<T extends ByteSource>(source: T, file: LocalFile | undefined): T {
  if (file) localFiles.set(source, file)
  return source
}

/** Undefined for a source that is no local file, or that somebody else made of one. */
export function localFileOf(source: ByteSource): LocalFile | undefined {
  return localFiles.get(source)
}

/** What names a source's content on every machine; undefined where that cannot be told. */
export function portableVersion(source: ByteSource): string | undefined {
  return localFiles.get(source)?.version ?? source.version
}
