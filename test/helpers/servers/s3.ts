/** A real object storage: versitygw, on a folder of this machine. */
import { mkdirSync, readdirSync, readFileSync, existsSync } from 'node:fs'
import { join } from 'node:path'
import { S3Client, ListMultipartUploadsCommand } from '@aws-sdk/client-s3'
import type { Test } from 'tap'
import { dataFolder, freePort, startServer, type Server } from './server.js'

const ACCESS_KEY = 'test'
const SECRET_KEY = 'testtest123'
const BUCKET = 'models'

export interface S3Server extends Server {
  readonly endpoint: string
  /** A bucket that is there. */
  readonly bucket: string
  /** What the AWS SDK finds address and credentials by, for other processes; `startS3` has set them in this one. */
  readonly env: Readonly<Record<string, string>>
  readonly client: S3Client
  /** The bytes of an object, as they stand on the server's disk; undefined where there is none. */
  object(key: string): Buffer | undefined
  /** Names of all objects. */
  keys(): string[]
  /** Keys of the uploads that are neither completed nor aborted. */
  openUploads(): Promise<string[]>
}

/** Starts versitygw with an empty bucket. */
export async function startS3(t: Test): Promise<S3Server> {
  const folder = dataFolder(t)
  const data = join(folder, 'data')
  mkdirSync(join(data, BUCKET), { recursive: true })
  const port = await freePort()
  const endpoint = `http://127.0.0.1:${port}`
  const server = await startServer(t, folder, port, {
    program: 'versitygw',
    args: ['--port', `127.0.0.1:${port}`, '--quiet', 'posix', data],
    env: { ROOT_ACCESS_KEY: ACCESS_KEY, ROOT_SECRET_KEY: SECRET_KEY },
  })
  const env = {
    AWS_ENDPOINT_URL_S3: endpoint,
    AWS_ACCESS_KEY_ID: ACCESS_KEY,
    AWS_SECRET_ACCESS_KEY: SECRET_KEY,
    AWS_REGION: 'us-east-1',
    // Nobody's own settings.
    AWS_CONFIG_FILE: join(folder, 'none'),
    AWS_SHARED_CREDENTIALS_FILE: join(folder, 'none'),
    AWS_EC2_METADATA_DISABLED: 'true',
  }
  Object.assign(process.env, env)
  const client = new S3Client({ forcePathStyle: true })
  t.teardown(() => client.destroy())
  const isOurs = (name: string): boolean => !name.startsWith('.sgwtmp')
  return Object.assign(server, {
    ...{ endpoint, bucket: BUCKET, env, client },
    object(key: string) {
      const path = join(data, BUCKET, key)
      return existsSync(path) ? readFileSync(path) : undefined
    },
    keys() {
      const entries = readdirSync(join(data, BUCKET), { recursive: true, withFileTypes: true })
      const files = entries.filter((entry) => entry.isFile())
      const keys = files.map(({ parentPath, name }) => join(parentPath, name).slice(join(data, BUCKET).length + 1))
      return keys.filter(isOurs).sort()
    },
    async openUploads() {
      const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: BUCKET }))
      return Uploads.map(({ Key = '' }) => Key)
    },
  })
}
