/** Plays the array of this folder on one machine. Usage: node examples/slurm/play.js [input] */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { input } from '../lib/paths.js'
import { play } from '../lib/play-cluster.js'

// What the script runs is what is played.
const script = readFileSync(join(import.meta.dirname, 'parts.sbatch'), 'utf8')
if (!script.includes('exec apr-stream part "$1"')) throw new Error('the script runs something else')

await play(input, 'SLURM_ARRAY_TASK_ID')
