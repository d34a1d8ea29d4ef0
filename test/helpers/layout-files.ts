/** The files of a layout, put together in memory the plain way. */
import type { Format, LayoutOptions, OpenedModel } from '../../dist/formats/format.js'

/** By name, in the order of the layout. Formats with a checksum need the writer. */
export async function layoutFiles(
  format: Format,
  { model, sources, tensors }: OpenedModel,
  options: Omit<LayoutOptions, 'isFolder'>,
): Promise<Map<string, Buffer>> {
  const layout = format.layout(model, { isFolder: false, ...options })
  const files = layout.files.map((file) => {
    const head = file.head()
    const tail = file.tail(head, () => 0)
    const bytes = Buffer.alloc(file.fileSize)
    bytes.set(head)
    bytes.set(tail, file.fileSize - tail.length)
    return bytes
  })
  for (const [i, { tensor, file, position }] of layout.tensors.entries()) {
    const from = tensors[i]
    const target = files[file]?.subarray(position, position + tensor.size)
    if (!from || !target) throw new Error(`expected ${tensor.name} in a file`)
    await sources[from.file]?.read(target, from.position)
  }
  return new Map(layout.files.map(({ name }, i) => [name, files[i] ?? Buffer.alloc(0)]))
}
