/** The AWS SDK, where it is installed: it knows where credentials, regions and endpoints are said. */
import type { S3Client } from '@aws-sdk/client-s3'
import { AprError } from '../../model/errors.js'

/** What of the SDK is used. */
export interface S3Kit {
  readonly sdk: typeof import('@aws-sdk/client-s3')
  readonly client: S3Client
  /** The same for uploads, which have retries of their own. A connection on which nothing moves is given up. */
  readonly uploader: S3Client
  /** For what may take minutes before a byte of its answer comes. */
  readonly slow: S3Client
}

/** Milliseconds without a byte: a store that has all of a part may need a while to put it down. */
const STALL_MS = 30_000
/** Completing copies the whole object where a store keeps its parts apart. */
const SLOW_STALL_MS = 30 * 60_000
const CONNECT_MS = 10_000
/** Far above the parts that are under way at once. */
const MAX_SOCKETS = 64

/** By what the environment says of them. */
const kits = new Map<string, Promise<S3Kit>>()

/** What says where the client goes, and as whom. */
const SETTINGS = [
  ...[
    'AWS_ENDPOINT_URL_S3',
    'AWS_ENDPOINT_URL',
    'AWS_REGION',
    'AWS_DEFAULT_REGION',
    'AWS_PROFILE',
    'AWS_ACCESS_KEY_ID',
  ],
]

/**
 * One client for the process, as long as its settings stay.
 * @throws AprError `APR_BAD_OPTION` where the SDK is not installed
 */
export function s3Kit(): Promise<S3Kit> {
  const settings = JSON.stringify(SETTINGS.map((name) => process.env[name]))
  const kit =
    kits.get(settings) ??
    loadKit().catch((error: unknown) => {
      // It may be installed by the next time.
      kits.delete(settings)
      throw error
    })
  kits.set(settings, kit)
  return kit
}

async function loadKit(): Promise<S3Kit> {
  const sdk = await peer<typeof import('@aws-sdk/client-s3')>('@aws-sdk/client-s3')
  const { AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_REGION, AWS_DEFAULT_REGION } = process.env
  const isOther = (AWS_ENDPOINT_URL_S3 ?? AWS_ENDPOINT_URL) !== undefined
  // Other programs know both names; of a store of one's own the region means nothing.
  const region = AWS_REGION ?? AWS_DEFAULT_REGION ?? (isOther ? 'us-east-1' : undefined)
  const settings = { ...(isOther && { forcePathStyle: true }), ...(region !== undefined && { region }) }
  const uploads = (socketTimeout: number): S3Client =>
    new sdk.S3Client({
      ...settings,
      maxAttempts: 1,
      followRegionRedirects: true,
      // Our own is given with every part; of anything else there is nothing to check.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      // Asking first costs a connection a part.
      expectContinueHeader: false,
      requestHandler: { connectionTimeout: CONNECT_MS, socketTimeout, httpAgent: AGENT, httpsAgent: AGENT },
    })
  return { sdk, client: new sdk.S3Client(settings), uploader: uploads(STALL_MS), slow: uploads(SLOW_STALL_MS) }
}

const AGENT = { keepAlive: true, maxSockets: MAX_SOCKETS }

/** Signs a request for an object, so that it can be made without the SDK. */
export async function presignGet({ sdk, client }: S3Kit, bucket: string, key: string): Promise<string> {
  const presigner = await peer<typeof import('@aws-sdk/s3-request-presigner')>('@aws-sdk/s3-request-presigner')
  const command = new sdk.GetObjectCommand({ Bucket: bucket, Key: key })
  return await presigner.getSignedUrl(client, command, { expiresIn: SIGNED_SECONDS })
}

/** Signs the end of an upload, for a process that has no time left to ask the SDK. */
export async function presignAbort(
  { sdk, uploader }: S3Kit,
  upload: { Bucket: string; Key: string; UploadId: string },
): Promise<string> {
  const presigner = await peer<typeof import('@aws-sdk/s3-request-presigner')>('@aws-sdk/s3-request-presigner')
  const command = new sdk.AbortMultipartUploadCommand(upload)
  return await presigner.getSignedUrl(uploader, command, { expiresIn: LONGEST_SECONDS })
}

/** No signature is good for longer. */
const LONGEST_SECONDS = 7 * 24 * 3600

/** As long as an address is asked for; a new one is signed when it has expired. */
const SIGNED_SECONDS = 3600

/**
 * Loads an optional dependency. Its name is no literal to bundlers, which would want it to be there.
 * @throws AprError `APR_BAD_OPTION` that says how to install it
 */
async function peer<T>(name: string): Promise<T> {
  try {
    return (await import(/* webpackIgnore: true */ name)) as T
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw cause
    const what = `expected the package ${name}, which s3:// needs, found none: npm install ${name}`
    throw new AprError('APR_BAD_OPTION', what, {}, { cause })
  }
}
