/**
 * Files of dtypes by patterns: `PATTERN=TYPE`, one a line, which is what `--tensor-type-file` of llama-quantize reads. Here
 * lines that start with # are comments.
 */
import fs from 'fs-extra'
import { AprError, printable } from '../model/errors.js'
import { TARGET_DTYPES, type TargetDType } from '../recipes/names.js'

/** @throws AprError `APR_BAD_OPTION` for what is no rule; the file system's own errors */
export async function readTypes(path: string): Promise<[pattern: string, dtype: TargetDType][]> {
  const lines = (await fs.readFile(path, 'utf8')).split(/\r?\n/)
  return lines.flatMap((line, i) => {
    const text = line.trim()
    if (text === '' || text.startsWith('#')) return []
    const [, pattern = '', name = ''] = /^(\S+)=([^=\s]+)$/.exec(text) ?? []
    const dtype = TARGET_DTYPES.find((each) => each === name.toUpperCase())
    if (pattern !== '' && dtype) return [[pattern, dtype] as [string, TargetDType]]
    const what = `expected PATTERN=TYPE with one of ${TARGET_DTYPES.join(', ')} in line ${i + 1}, found "${printable(text)}"`
    throw new AprError('APR_BAD_OPTION', what, { file: path })
  })
}

export async function writeTypes(path: string, types: Readonly<Record<string, TargetDType>>): Promise<void> {
  const lines = Object.entries(types).map(([pattern, dtype]) => `${pattern}=${dtype}\n`)
  await fs.outputFile(path, lines.join(''))
}
