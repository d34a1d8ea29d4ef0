/** The APR format, as the engines and the stages see it. */
import { crc32 } from '../../checksum/crc32.js'
import { appendZerosCrc32, combineCrc32 } from '../../checksum/combine.js'
import type { FormatOf, Layout, LayoutOptions } from '../format.js'
import { align, FOOTER_BYTES, hasMagic, HEADER_BYTES } from './header.js'
import { encodeHead, layoutModel } from './layout.js'
import { describeMetadata, editMetadata } from './metadata.js'
import { isPossibleSize, metadataBytes, withQuantized, withTensors, type AprModel } from './model.js'
import { openModel } from './open.js'
import { checkTensor } from './tensor-index.js'

export const apr: FormatOf<AprModel> = {
  name: 'apr',
  extension: '.apr',
  isSplittable: false,
  matches: (start) => start !== undefined && hasMagic(start),
  open: (input) => openModel(input),
  layout,
  checkTensor,
  isPossibleSize,
  withTensors,
  withQuantized,
  metadata: (model) => JSON.parse(model.metadata) as Record<string, unknown>,
  withMetadata: (model, changes) => Object.freeze({ ...model, metadata: editMetadata(model.metadata, changes) }),
  describeMetadata: ({ metadata }) => describeMetadata(metadata),
  metadataBytes,
}

function layout(model: AprModel, { name }: LayoutOptions): Layout {
  const { entries, dataOffset, fileSize } = layoutModel(model)
  return {
    // Made when it is asked for: a plan is not to hold it.
    get tensors() {
      return entries.map((tensor) => {
        return { tensor, file: 0, position: dataOffset + tensor.dataOffset, padding: align(tensor.size) - tensor.size }
      })
    },
    files: [
      {
        name,
        fileSize,
        // The header.
        sealBytes: HEADER_BYTES,
        head: () => encodeHead(model),
        tail(head, crcOf) {
          let crc = crc32(head)
          for (const { name, size } of entries) {
            crc = combineCrc32(crc, crcOf(name), size)
            crc = appendZerosCrc32(crc, align(size) - size)
          }
          return encodeFooter(crc)
        },
        checksum: { bytes: FOOTER_BYTES, encode: encodeFooter },
      },
    ],
  }
}

function encodeFooter(crc: number): Uint8Array {
  const footer = new Uint8Array(FOOTER_BYTES)
  new DataView(footer.buffer).setUint32(0, crc, true)
  return footer
}
