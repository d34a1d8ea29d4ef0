/** Parts of a model that go to object storage: the bytes of the stream, by units at once and in any order. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { aprReader, aprWriter } from 'apr-stream'
import { abort, finish, part, plan, type PartsPlan } from 'apr-stream/parts'
import { run, sameBytes } from '../helpers/files.js'
import { FOLDER, FOLDER_OPTIONS, streamed } from '../helpers/parts.js'
import { writeBigModel } from '../helpers/s3-models.js'
import { startS3 } from '../helpers/servers/s3.js'
import { notThere } from '../helpers/servers/server.js'

const skip = notThere('versitygw')
const SIZES = { blockBytes: 5 * 1024 ** 2, unitBytes: 5 * 1024 ** 2 }

void test('parts of a copy, some of them twice, are the object that the writer makes', { skip }, async (t) => {
  const s3 = await startS3(t)
  const model = writeBigModel(t.testdir())
  const file = join(t.testdirName, 'out.apr')
  await run([aprReader(model), aprWriter(file)])
  const output = `s3://${s3.bucket}/out.apr`
  const made = JSON.parse(JSON.stringify(await plan(model, output, { ...SIZES, convert: true }))) as PartsPlan
  const units = [...made.units.keys()].reverse()
  t.ok(units.length > 3)
  await t.rejects(finish(made), { code: 'APR_PARTS_MISSING' })
  await Promise.all([...units, 0, 1].map((unit) => part(made, unit)))
  t.same(s3.keys(), [])
  t.equal((await finish(made)).already, false)
  t.equal((await finish(made)).already, true)
  sameBytes(t, s3.object('out.apr') ?? Buffer.alloc(0), readFileSync(file), 'parts')
  t.same(await s3.openUploads(), [])
})

void test(
  'a folder becomes a quantized object by parts; a plan that is aborted leaves nothing',
  { skip },
  async (t) => {
    const s3 = await startS3(t)
    const file = join(t.testdir(), 'out.gguf')
    await streamed(FOLDER, file)
    const output = `s3://${s3.bucket}/out.gguf`
    const made = await plan(FOLDER, output, FOLDER_OPTIONS)
    for (const unit of made.units.keys()) await part(made, unit)
    await finish(made)
    sameBytes(t, s3.object('out.gguf') ?? Buffer.alloc(0), readFileSync(file), 'parts')
    const unused = await plan(FOLDER, `s3://${s3.bucket}/other.gguf`, FOLDER_OPTIONS)
    t.same(await s3.openUploads(), ['other.gguf'])
    await abort(unused)
    t.same(await s3.openUploads(), [])
    t.same(s3.keys(), ['out.gguf'])
  },
)
