import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { test } from 'tap'
import { selectByDefault } from 'apr-stream'
import type { OptionRow } from '../../dist/options/check.js'
import {
  COMPARE_OPTIONS,
  CONVERT_OPTIONS,
  DEFAULT_THRESHOLD_BYTES,
  GGUF_WRITER_OPTIONS,
  PLAN_OPTIONS,
  QUANTIZE_BYTES_PER_THREAD,
  Q4K_OPTIONS,
  QUANTIZE_OPTIONS,
  READ_OPTIONS,
  READER_OPTIONS,
  IMATRIX_OPTIONS,
  RECIPE_OPTIONS,
  SAFETENSORS_WRITER_OPTIONS,
  TO_GGUF_OPTIONS,
  WRITER_OPTIONS,
} from '../../dist/options/table.js'
import { FINISH_OPTIONS, PART_OPTIONS, PARTS_PLAN_OPTIONS } from '../../dist/options/parts-table.js'

type Table = Readonly<Record<string, OptionRow>>

/**
 * The pages with a table of options: those of the page itself, and those that it takes over from others. Of a page with
 * several the section stands behind a `#`.
 */
const PAGES: Readonly<Record<string, { table: Table; from?: readonly Table[] }>> = {
  'apr-reader': { table: READER_OPTIONS },
  q4k: { table: Q4K_OPTIONS },
  recipe: { table: RECIPE_OPTIONS, from: [Q4K_OPTIONS] },
  'apr-writer': { table: WRITER_OPTIONS },
  'gguf-writer': { table: GGUF_WRITER_OPTIONS, from: [WRITER_OPTIONS] },
  safetensors: { table: SAFETENSORS_WRITER_OPTIONS, from: [WRITER_OPTIONS] },
  'safetensors-writer': { table: SAFETENSORS_WRITER_OPTIONS, from: [WRITER_OPTIONS] },
  'to-gguf': { table: TO_GGUF_OPTIONS },
  compare: { table: COMPARE_OPTIONS },
  imatrix: { table: IMATRIX_OPTIONS },
  quantize: { table: QUANTIZE_OPTIONS, from: [RECIPE_OPTIONS, Q4K_OPTIONS, READER_OPTIONS, WRITER_OPTIONS] },
  convert: { table: CONVERT_OPTIONS },
  plan: { table: PLAN_OPTIONS, from: [QUANTIZE_OPTIONS] },
  inspect: { table: READ_OPTIONS },
  verify: { table: READ_OPTIONS },
  'parts#Options of plan': { table: PARTS_PLAN_OPTIONS, from: [QUANTIZE_OPTIONS, CONVERT_OPTIONS] },
  'parts#Options of part': { table: PART_OPTIONS, from: [Q4K_OPTIONS] },
  'parts#Options of finish': { table: FINISH_OPTIONS, from: [PART_OPTIONS] },
}

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')

for (const [page, { table, from = [] }] of Object.entries(PAGES)) {
  void test(`the options of ${page} are documented as they are`, (t) => {
    const [name = '', section = 'Options'] = page.split('#')
    const text = sectionOf(read(`docs/${name}.md`), section)
    const taken = Object.keys(table).filter((name) => from.some((other) => other[name] === table[name]))
    const own = Object.keys(table).filter((name) => !taken.includes(name))
    const documented = rowsOf(text).map((cells) => `| ${cells.join(' | ')} |`)
    t.same(
      documented,
      own.map((name) => documentedRow(name, table[name] as OptionRow)),
      'name, type, default, unit and meaning',
    )
    const before = text.slice(0, text.indexOf('|'))
    // `plan` takes all of another function, the others name what they take.
    const named = page === 'plan' ? taken : [...before.matchAll(/`(\w+)`/g)].map(([, name]) => name)
    t.same(new Set(named), new Set(taken), 'options of other pages')
    t.end()
  })
}

void test('the literal in the README has every option with its default', (t) => {
  const literal =
    /await quantize\('model\.apr', 'model\.q4k\.apr', \{\n([\s\S]*?)\n\}\)/.exec(read('README.md'))?.[1] ?? ''
  const lines = [...literal.matchAll(/^ {2}(\w+): (.+?), \/\/ (.+)$/gm)].map(([, name = '', value = '', says = '']) => {
    // eslint-disable-next-line @typescript-eslint/no-implied-eval
    const evaluate = new Function('availableParallelism', 'selectByDefault', `return ${value}`) as (
      ...names: unknown[]
    ) => unknown
    return [name, evaluate(availableParallelism, selectByDefault), says] as const
  })
  const rows: Table = QUANTIZE_OPTIONS
  const derived: Readonly<Record<string, unknown>> = {
    threads: availableParallelism(),
    threshold: DEFAULT_THRESHOLD_BYTES,
  }
  t.same(new Set(lines.map(([name]) => name)), new Set(Object.keys(rows)), 'the names')
  for (const [name, value] of lines) t.equal(value, rows[name]?.default ?? derived[name], `the default of ${name}`)
  const says = lines.find(([name]) => name === 'highWaterMark')?.[2] ?? ''
  const sizes = [READER_OPTIONS.highWaterMark.default, QUANTIZE_BYTES_PER_THREAD, WRITER_OPTIONS.highWaterMark.default]
  t.same(says.match(/\d+ MiB/g), sizes.map(readable), 'the default of highWaterMark in each stage')
  t.match(lines.find(([name]) => name === 'threshold')?.[2], readable(DEFAULT_THRESHOLD_BYTES))
  t.end()
})

void test('the comments in the types have every option with its default', (t) => {
  const interfaces: [string, string, Table][] = [
    ['streams/reader', 'ReaderOptions', READER_OPTIONS],
    ['streams/quantize/q4k', 'Q4KOptions', Q4K_OPTIONS],
    ['streams/quantize/recipe', 'RecipeChoices', RECIPE_OPTIONS],
    ['streams/quantize/recipe', 'RecipeOptions', RECIPE_OPTIONS],
    ['streams/writer', 'WriterOptions', WRITER_OPTIONS],
    ['streams/convert/to-gguf', 'ToGgufOptions', TO_GGUF_OPTIONS],
    ['jobs/mode', 'ModeOptions', QUANTIZE_OPTIONS],
    ['jobs/job', 'QuantizeOptions', QUANTIZE_OPTIONS],
    ['jobs/plan', 'PlanOptions', PLAN_OPTIONS],
    ['jobs/reading/input', 'ReadOptions', READ_OPTIONS],
    ['jobs/parts/options', 'PartsJobOptions', PARTS_PLAN_OPTIONS],
    ['jobs/parts/options', 'PartsPlanOptions', PARTS_PLAN_OPTIONS],
    ['jobs/parts/options', 'PartOptions', PART_OPTIONS],
    ['jobs/parts/options', 'FinishOptions', FINISH_OPTIONS],
  ]
  for (const [file, name, table] of interfaces) {
    const body = new RegExp(`interface ${name} [^{]*\\{([\\s\\S]*?)\\n\\}`).exec(read(`dist/${file}.d.ts`))?.[1] ?? ''
    const members = [...body.matchAll(/\/\*\*([\s\S]*?)\*\/\s*(\w+)\?:/g)]
    t.ok(members.length > 0, name)
    for (const [, comment = '', option = ''] of members) {
      const row = table[option] as OptionRow
      const told = /Default:? `?(.+?)`?[.:] /s.exec(`${comment.replaceAll(/\s*\n\s*\*?\s*/g, ' ')} `)?.[1]
      if ('default' in row) t.equal(told, readable(row.default), `${name}.${option}`)
    }
  }
  t.end()
})

void test('the command line documents the defaults that it has', (t) => {
  const rows = new Map(rowsOf(read('docs/cli.md')).map(([flag = '', value = '']) => [flag, value]))
  const defaults = ['fit', 'kept', 'mode'] as const
  for (const name of defaults) {
    const flag = [...rows.keys()].find((key) => key.startsWith(`\`--${name} `)) ?? ''
    t.equal(rows.get(flag), `\`${QUANTIZE_OPTIONS[name].default}\``, flag)
    t.equal(flag, `\`--${name} ${QUANTIZE_OPTIONS[name].kind.type.replaceAll(/[`']/g, '').replaceAll(', ', '\\|')}\``)
  }
  t.match(
    read('docs/cli.md'),
    `default ${DEFAULT_THRESHOLD_BYTES.toLocaleString('en')} (${readable(DEFAULT_THRESHOLD_BYTES)})`,
  )
  t.end()
})

/** A row of a table in `docs/`, as it is to be. */
function documentedRow(name: string, row: OptionRow): string {
  const { kind, derived = defaultText(row.default), meaning } = row
  return `| ${[`\`${name}\``, kind.type, derived, kind.unit ?? '', meaning].join(' | ')} |`
}

function defaultText(value: unknown): string {
  if (typeof value === 'number') return value.toLocaleString('en')
  if (typeof value === 'string') return `\`'${value}'\``
  return typeof value === 'function' ? `\`${value.name}\`` : `\`${String(value)}\``
}

/** A default as sentences have it. */
function readable(value: unknown): string {
  if (typeof value === 'function') return value.name
  if (typeof value !== 'number') return String(value)
  const [unit, size] = value % 2 ** 30 === 0 ? ['GiB', 2 ** 30] : ['MiB', 2 ** 20]
  return `${value / size} ${unit}`
}

function sectionOf(page: string, title: string): string {
  return new RegExp(`\n## ${title}\n([\\s\\S]*?)\n## `).exec(page)?.[1]?.trim() ?? ''
}

/** The cells of the first table of a text that begins with an option or a flag, without its head. */
function rowsOf(text: string): string[][] {
  const first = text.split('\n\n').find((part) => /^\| (option|flag) /.test(part)) ?? ''
  const lines = first.split('\n').slice(2)
  return lines.map((line) =>
    line
      .split(/(?<!\\)\|/)
      .slice(1, -1)
      .map((cell) => cell.trim()),
  )
}
