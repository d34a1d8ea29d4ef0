/** Plays the indexed Job of this folder on one machine. Usage: node examples/kubernetes/play.js [input] */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { input } from '../lib/paths.js'
import { play } from '../lib/play-cluster.js'

// What the manifest tells a container to run is what is played.
const manifest = readFileSync(join(import.meta.dirname, 'parts.yaml'), 'utf8')
if (!manifest.includes("'apr-stream', 'part', '/models/job.json'")) throw new Error('the manifest runs something else')

await play(input, 'JOB_COMPLETION_INDEX')
