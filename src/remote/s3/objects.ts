/** Objects to read: `s3://bucket/key`, and `s3://bucket/folder/`. */
import { AprError, printable } from '../../model/errors.js'
import { remoteError } from '../address.js'
import type { Locator } from '../http/locator.js'
import type { Answer } from '../http/get.js'
import { presignGet, s3Kit } from './client.js'
import { s3Name, type S3Place } from './place.js'

/** An object, read by signed requests of our own: bodies of the SDK may hang. */
export function s3Locator(place: S3Place): Locator {
  return {
    name: s3Name(place),
    async locate() {
      const url = await named(place, async () => presignGet(await s3Kit(), place.bucket, place.key))
      return { url, headers: {}, expires: true }
    },
    explain,
  }
}

/** Names of the objects and folders in a folder. */
export async function listS3(place: S3Place): Promise<string[]> {
  return await named(place, async () => {
    const { sdk, client } = await s3Kit()
    const { bucket, key: prefix } = place
    const names: string[] = []
    for await (const page of sdk.paginateListObjectsV2(
      { client },
      { Bucket: bucket, Prefix: prefix, Delimiter: '/' },
    )) {
      for (const { Key = '' } of page.Contents ?? []) names.push(Key.slice(prefix.length))
      for (const { Prefix = '' } of page.CommonPrefixes ?? []) names.push(Prefix.slice(prefix.length, -1))
    }
    return names.filter((name) => name !== '')
  })
}

/** Errors of the SDK, with what was asked for. */
async function named<T>(place: S3Place, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof AprError) throw error
    const { name, message } = error as Error
    throw remoteError(`expected an answer of S3, found ${name}: ${printable(message)}`, s3Name(place), undefined, error)
  }
}

function explain({ status, headers }: Answer): string | undefined {
  const region = headers['x-amz-bucket-region']
  if (status === 301 && region !== undefined) return `the bucket is in the region ${region}: set AWS_REGION`
  if (status === 403) return 'these credentials may not read it, or it is not there'
  return status === 404 ? 'there is no such object' : undefined
}
