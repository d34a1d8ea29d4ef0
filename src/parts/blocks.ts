/**
 * An output that is made block by block, in any order, by any number of processes: equal blocks of one file, counted from
 * its first byte, the last of which may be shorter. A block's bytes follow from the plan and its number alone.
 */

/** Bytes of a source that one part has read and nobody else, with their CRC-32: together they prove the source's own. */
export interface SourceRun {
  /** In which of the model's files. */
  readonly file: number
  readonly start: number
  readonly end: number
  readonly crc32: number
}

/** Proof that a block is where it belongs. Plain data. */
export interface BlockReceipt {
  readonly block: number
  readonly crc32: number
  /** Of object storage. */
  readonly etag?: string
  /** What was read for it; left out where nobody keeps it. */
  readonly sources?: readonly SourceRun[]
}

/** One of the files that an input is, and what it was when the plan was made. */
export interface PlannedSource {
  readonly name: string
  readonly bytes: number
  /** Changes whenever the content does, and is the same on every machine. */
  readonly version: string
}

/** What a job is, for everyone who makes a part of it. Plain data without secrets, written once. */
export interface PartsPlan {
  /** First 16 hexadecimal digits of the SHA-256 of all that decides the bytes. */
  readonly id: string
  /** Version of this package: others may make other bytes. */
  readonly version: string
  /** Path or URL, pinned to a version. */
  readonly input: string
  /** Path or URL of the one file that is made. */
  readonly output: string
  /** Of object storage: the upload that takes the blocks. */
  readonly upload?: string
  readonly overwrite: boolean
  /** The options that decide the bytes, as they were given. */
  readonly options: Readonly<Record<string, unknown>>
  readonly totalBytes: number
  /** A multiple of 64 KiB. */
  readonly blockBytes: number
  /**
   * Blocks of each unit of work: the first, and the one behind the last. There is one unit at least; that of a small output
   * has no blocks. What is behind all units, the last block as a rule, is made by `finish`.
   */
  readonly units: readonly (readonly [first: number, end: number])[]
  readonly sources: readonly PlannedSource[]
}

/** What `finish` tells. */
export interface Finished {
  readonly output: string
  readonly bytes: number
  /** CRC-32 of the whole output; undefined where it was there already and its store does not tell. */
  readonly crc32: number | undefined
  /** Whether it was there already, of this plan. */
  readonly already: boolean
  /** Of object storage: what it has checked itself, the CRC-32 of the whole too, or of each part only. */
  readonly checks?: 'whole' | 'parts' | undefined
}

/** Where blocks go: a file that several processes share, or object storage. */
export interface BlockSink {
  /**
   * Makes room for the output; a second call of the same plan does nothing.
   * @returns the plan with what the sink has to remember, as an upload's name
   * @throws AprError `APR_EXISTS` where the output is there and may not be replaced
   */
  begin(plan: PartsPlan): Promise<PartsPlan>
  /**
   * Blocks from `first` to before `end` that are there, proven, in their order.
   * @throws AprError `APR_PARTS_MISSING` where there is nothing of this plan: it was aborted, or never begun
   */
  have(first: number, end: number): Promise<BlockReceipt[]>
  /** Puts a block to its place, durably. A block that is there already is replaced by the same bytes. */
  put(receipt: BlockReceipt, bytes: Uint8Array, options?: { readonly signal?: AbortSignal }): Promise<BlockReceipt>
  /** The output, where it is in its place already and of this plan. */
  finished(): Promise<Finished | undefined>
  /**
   * Puts the output to its place in one step.
   * @param receipts of all blocks, in their order
   * @param crc32 of the whole output
   * @param inputMode permission bits of the input, where it is local files: a new file is for no more eyes
   * @throws AprError `APR_EXISTS`
   */
  complete(receipts: readonly BlockReceipt[], crc32: number, inputMode?: number): Promise<Finished>
  /** Removes all that this plan has left, and nothing else. */
  abort(): Promise<void>
  close(): Promise<void>
}
