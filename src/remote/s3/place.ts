/** Where an object is. */
import { AprError, printable } from '../../model/errors.js'

export interface S3Place {
  readonly bucket: string
  /** '' for the whole bucket. */
  readonly key: string
}

/** @throws AprError `APR_BAD_OPTION` for another URL */
export function s3Place(url: string): S3Place {
  const [, bucket, key = ''] = /^s3:\/\/([^/]+)(?:\/(.*))?$/is.exec(url) ?? []
  if (bucket !== undefined) return { bucket, key }
  throw new AprError('APR_BAD_OPTION', `expected s3://bucket/key, found "${printable(url)}"`)
}

export function s3Name({ bucket, key }: S3Place): string {
  return `s3://${bucket}/${key}`
}
