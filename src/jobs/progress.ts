/** How far a job is, for those who want to know. */
import type { TensorInfo } from '../model/tensor.js'
import type { TensorRecord } from '../model/record.js'
import type { TensorTransform } from '../streams/face.js'
import { tapRecords } from '../streams/stage.js'
import type { Progress } from './job.js'

type OnProgress = (progress: Progress) => void

/** The stage that reports, where somebody wants to know. */
export function progressStage(
  phase: Progress['phase'],
  tensors: readonly TensorInfo[],
  onProgress: OnProgress | undefined,
): TensorTransform[] {
  return onProgress ? [tapRecords(reporter(phase, tensors, onProgress))] : []
}

/**
 * Counts the records of a phase, each once, and reports them.
 * @param tensors all that come in it
 */
export function reporter(
  phase: Progress['phase'],
  all: readonly TensorInfo[],
  onProgress: OnProgress,
): (record: TensorRecord) => void {
  const totalTensors = all.length
  const totalBytes = all.reduce((sum, { size }) => sum + size, 0)
  let bytes = 0
  let tensors = 0
  return ({ name, offset, data, size }) => {
    bytes += data.length
    if (offset + data.length === size) tensors++
    onProgress({ phase, bytes, totalBytes, tensors, totalTensors, tensor: name })
  }
}
