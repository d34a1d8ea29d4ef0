/** The real servers that other tests need: they start, keep what they were given through a crash, and end. */
import { PutObjectCommand } from '@aws-sdk/client-s3'
import { connect } from 'node:net'
import { once } from 'node:events'
import { test } from 'tap'
import { POSTGRES_PROGRAMS, startPostgres } from '../helpers/servers/postgres.js'
import { startRedis } from '../helpers/servers/redis.js'
import { startS3 } from '../helpers/servers/s3.js'
import { notThere } from '../helpers/servers/server.js'

async function ask(port: number, text: string): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  socket.write(text, 'latin1')
  const [answer] = (await once(socket, 'data')) as [Buffer]
  socket.destroy()
  return answer.toString('latin1')
}

void test('object storage keeps objects through a crash', { skip: notThere('versitygw') }, async (t) => {
  const s3 = await startS3(t)
  await s3.client.send(new PutObjectCommand({ Bucket: s3.bucket, Key: 'a/b', Body: 'text' }))
  t.same(s3.keys(), ['a/b'])
  t.equal(s3.object('a/b')?.toString(), 'text')
  t.equal(s3.object('none'), undefined)
  const { pid } = s3
  await s3.restart()
  t.not(s3.pid, pid)
  t.throws(() => process.kill(pid, 0))
  t.same(s3.keys(), ['a/b'])
  t.same(await s3.openUploads(), [])
})

void test('Redis answers, also after a crash', { skip: notThere('redis-server') }, async (t) => {
  const redis = await startRedis(t)
  t.match(await ask(redis.port, 'PING\r\n'), /\+PONG/)
  await redis.restart()
  t.match(await ask(redis.port, 'PING\r\n'), /\+PONG/)
})

void test('PostgreSQL answers, also after a crash', { skip: notThere(...POSTGRES_PROGRAMS) }, async (t) => {
  const postgres = await startPostgres(t)
  // Asked for TLS, which it has not.
  const tls = '\0\0\0\x08\x04\xd2\x16\x2f'
  t.equal(await ask(postgres.port, tls), 'N')
  await postgres.restart()
  t.equal(await ask(postgres.port, tls), 'N')
})
