import { dirname } from 'node:path'
import { findPlace, outputPath, refuseSameFile } from '../../files/output/output-place.js'
import { toInput, toPath, absolutePath } from '../../files/path.js'
import { AprError, checkNotAborted } from '../../model/errors.js'
import { found } from '../../model/found.js'
import type { PartsPlan } from '../../parts/blocks.js'
import { blockBytesFor, cutUnits, unitBytesFor } from '../../parts/cut.js'
import { FileSink } from '../../parts/file-sink.js'
import { remoteAddress, withoutSecrets } from '../../remote/address.js'
import { VERSION } from '../../version.js'
import { refuseTooLittleSpace } from '../open-output.js'
import { plan as planJob } from '../plan.js'
import { refuseWarnings } from '../warnings.js'
import { openJob, type OpenedJob } from './opened-job.js'
import { checkPlanOptions, jobOptions, plainOptions, without, type PartsPlanOptions } from './options.js'
import { withSink } from './sink.js'

/**
 * Says how a model is made in parts, and makes room for it: a plan is plain data, that any process of any machine makes parts
 * of. It holds no secrets; what it takes to read and write is found there as here.
 *
 * @param input a path of a file or folder, or a URL; a ByteSource is of this process alone
 * @param output a path: the one file that is made
 * @throws AprError `APR_BAD_OPTION`, `APR_EXISTS`, `APR_SAME_FILE`, `APR_NO_SPACE`, `APR_STRICT`, and what a plan of `quantize`
 *   or `convert` can say
 */
export async function plan(
  input: string | URL,
  output: string | URL,
  options: PartsPlanOptions = {},
): Promise<PartsPlan> {
  const checked = checkPlanOptions(options)
  const { signal } = checked
  checkNotAborted(signal)
  const from = inputOf(input)
  const to = outputOf(output)
  const plain = await settled(from, to, plainOptions(checked), signal)
  const job = await openJob(from, to, await jobOptions(plain))
  try {
    checkNotAborted(signal)
    if (checked.strict && 'warnings' in job.summary) refuseWarnings(job.summary.warnings, job.summary.input)
    const plan = planOf(job, remoteAddress(from) ? job.summary.input : from, to, plain, checked)
    return await withSink(plan, async (sink) => {
      if (sink instanceof FileSink) await checkPlaceOf(plan, job, sink, checked.spaceCheck)
      return await sink.begin(plan)
    })
  } finally {
    await job.close()
  }
}

/** Dtypes that are chosen by their errors are chosen once, and written down. */
async function settled(
  input: string,
  output: string,
  options: PartsPlan['options'],
  signal: AbortSignal | undefined,
): Promise<PartsPlan['options']> {
  const { targetBytes, bitsPerWeight, ...others } = options
  if (targetBytes === undefined && bitsPerWeight === undefined) return options
  const asked = without(await jobOptions(options), 'convert')
  const { choice } = await planJob(input, { ...asked, output, signal })
  return choice ? { ...others, recipe: choice.recipe, types: choice.types } : options
}

function planOf(
  job: OpenedJob,
  input: string,
  output: string,
  options: PartsPlan['options'],
  { blockBytes: asked, unitBytes, overwrite }: ReturnType<typeof checkPlanOptions>,
): PartsPlan {
  const { fileSize: totalBytes, tailBytes, sources } = job
  const blockBytes = asked ?? blockBytesFor(totalBytes)
  const units = cutUnits(totalBytes, tailBytes, blockBytes, unitBytes ?? unitBytesFor(totalBytes))
  const id = job.id.slice(0, 16)
  return { id, version: VERSION, input, output, overwrite, options, totalBytes, blockBytes, units, sources }
}

async function checkPlaceOf(plan: PartsPlan, job: OpenedJob, sink: FileSink, spaceCheck: boolean): Promise<void> {
  const { path } = await findPlace(plan.output)
  await refuseSameFile(path, job.origin)
  if (spaceCheck) await refuseTooLittleSpace(dirname(path), plan.totalBytes, await sink.takenBytes(), plan.output)
}

/** @throws AprError `APR_BAD_OPTION` for what another process cannot open, and for a URL with what may be secret */
function inputOf(input: string | URL): string {
  if (typeof input !== 'string' && !(input instanceof URL)) {
    const what = `expected the input of a plan to be a path or a URL, found ${found(input)}, which other processes cannot open`
    throw new AprError('APR_BAD_OPTION', what)
  }
  const given = toInput('the input', input)
  if (!remoteAddress(given)) return absolutePath(given)
  refuseSecrets(given)
  return given
}

/** @throws AprError `APR_BAD_OPTION` for what can be no output, and for a URL with what may be secret */
function outputOf(output: string | URL): string {
  const remote = remoteAddress(output)
  if (!remote) return outputPath(toPath('the output', output))
  refuseSecrets(remote.url)
  return remote.url
}

function refuseSecrets(url: string): void {
  const plain = withoutSecrets(url)
  if (plain === url) return
  const what = `expected a URL without user, password and query, which may be secret and would stand in the plan, found one of ${plain}`
  throw new AprError('APR_BAD_OPTION', what)
}
