/** Where the blocks of a plan go. */
import type { BlockSink, PartsPlan } from '../../parts/blocks.js'
import { FileSink } from '../../parts/file-sink.js'
import { S3Sink } from '../../parts/s3-sink.js'
import { AprError } from '../../model/errors.js'
import { withoutSecrets } from '../../remote/address.js'

/** @throws AprError `APR_BAD_OPTION` for what can be no output */
function openSink(plan: PartsPlan): BlockSink {
  if (/^s3:\/\//i.test(plan.output)) return new S3Sink(plan)
  if (!/^[a-z][a-z0-9+.-]+:\/\//i.test(plan.output)) return new FileSink(plan)
  const what = `expected an output that is a path or s3://bucket/key, found the URL ${withoutSecrets(plan.output)}`
  throw new AprError('APR_BAD_OPTION', what)
}

/** Works on a sink, which is closed whatever happens. */
export async function withSink<T>(plan: PartsPlan, work: (sink: BlockSink) => Promise<T>): Promise<T> {
  const sink = openSink(plan)
  try {
    return await work(sink)
  } finally {
    await sink.close()
  }
}
