import { FILE_TYPES } from './file-types.js'
import { findRecipe } from '../../recipes/names.js'

/** What `apr-stream llama-quantize` takes, for those who got it wrong. */
export function usage(): string {
  const types = Object.entries(FILE_TYPES).filter(([name]) => name === 'COPY' || findRecipe(name))
  const rows = types.map(
    ([name, number]) => `  ${name === 'COPY' ? '       ' : `${String(number).padStart(2)} or `}  ${name}`,
  )
  return `${OPTIONS}\nTypes, by name or number:\n${rows.join('\n')}\n`
}

const OPTIONS = `usage: apr-stream llama-quantize [options] MODEL.gguf [OUTPUT.gguf] TYPE [THREADS]

Takes the command line of llama-quantize and writes the same file. Options stand before the model:
  --allow-requantize           quantize again what is quantized already
  --leave-output-tensor        leave output.weight as it is
  --pure                       one type for all tensors
  --imatrix FILE               importance matrix, of either form
  --include-weights PART       use it for tensors whose name has this part; may be given again
  --exclude-weights PART       do not use it for tensors whose name has this part; may be given again
  --output-tensor-type TYPE    type of output.weight
  --token-embedding-type TYPE  type of the token embeddings
  --tensor-type PATTERN=TYPE   type of the tensors whose name matches; may be given again, the first that matches counts
  --tensor-type-file FILE      the same, from a file of such rules
  --prune-layers N,N,...       leave out layers
  --keep-split                 make a part of each part of a split model
  --override-kv KEY=TYPE:VALUE set metadata: int, float, bool or str; may be given again
  --dry-run                    show types and sizes, and write nothing
  --max-buffer-size MIB        taken, and without effect: memory is constant

Unlike llama-quantize, the output appears whole or not at all.
`
