/**
 * Where the CPU time of a job goes: the main thread's and that of all threads, by the streams and by the way of many cores, in
 * turn. Linux only. `node bench/many-cores.js INPUT OUTPUT [rounds] [options of quantize as JSON]`
 */
import { readFileSync, rmSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { quantize } from '../dist/index.js'

const [input, output, rounds = '3', options = '{}'] = process.argv.slice(2)
if (output === undefined) throw new Error('usage: node bench/many-cores.js INPUT OUTPUT [rounds] [options]')

/** CPU seconds of the thread that runs this. */
function mainSeconds() {
  const fields = readFileSync(`/proc/self/task/${process.pid}/stat`, 'utf8').split(') ')[1].split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
}

async function measure(way) {
  process.env.APR_MANY_CORES = way
  const before = { main: mainSeconds(), all: process.cpuUsage() }
  const { seconds, inputBytes } = await quantize(input, output, {
    ...JSON.parse(options),
    mode: 'stream',
    overwrite: true,
  })
  const { user, system } = process.cpuUsage(before.all)
  const gigabytes = inputBytes / 1e9
  return {
    rate: gigabytes / seconds,
    main: (mainSeconds() - before.main) / gigabytes,
    all: (user + system) / 1e6 / gigabytes,
  }
}

console.log(`${availableParallelism()} cores; GB/s of input, CPU s/GB of the main thread and of all`)
const names = { never: 'streams', always: 'many cores' }
const ratios = []
for (let round = 0; round < Number(rounds); round++) {
  const rates = {}
  for (const way of round % 2 === 0 ? ['never', 'always'] : ['always', 'never']) {
    const { rate, main, all } = await measure(way)
    rates[way] = rate
    console.log(`${names[way].padEnd(10)} ${rate.toFixed(3)} GB/s  main ${main.toFixed(3)}  all ${all.toFixed(2)}`)
  }
  ratios.push(rates.always / rates.never)
}
ratios.sort((a, b) => a - b)
console.log(`many cores / streams, median of the rates: ${ratios[Math.floor(ratios.length / 2)].toFixed(2)}`)
rmSync(output, { force: true })
