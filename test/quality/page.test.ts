/// <reference lib="dom" />
/** The page of a report, in a real browser: what it shows and does, and that it asks for nothing. */
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Page } from 'puppeteer-core'
import { test, type Test } from 'tap'
import { compare, quantize } from 'apr-stream'
import { renderReport } from '../../dist/quality/page.js'
import type { ReportData } from '../../dist/quality/report-data.js'
import { noChromium, openPage, startChromium, type PageLook } from '../helpers/chromium.js'
import { makeReport } from '../helpers/report-data.js'

const skip = noChromium

async function writePage(t: Test, data: ReportData): Promise<string> {
  const path = join(t.testdir(), 'report.html')
  writeFileSync(path, await renderReport(data))
  return pathToFileURL(path).href
}

/** Opens the page of a report, looks at it, and checks that it said nothing and asked for nothing. */
async function lookAt(t: Test, data: ReportData, look: PageLook, see: (page: Page) => Promise<void>): Promise<void> {
  const url = await writePage(t, data)
  const { page, said, requests } = await openPage(await startChromium(t), url, look)
  await page.waitForSelector('#heat-map svg')
  await see(page)
  t.same(said, [], 'nothing is said on the console')
  t.same(requests, [url], 'nothing but the file is asked for')
}

const textOf = (page: Page, selector: string): Promise<string> => page.$eval(selector, (element) => element.textContent)
const cellsOf = (page: Page, column: number): Promise<string[]> =>
  page.$$eval('.rows .row', (rows, column) => rows.map((row) => row.children[column]?.textContent ?? ''), column)

void test('the page shows the figures, and sorts, filters and looks into tensors', { skip }, async (t) => {
  await lookAt(t, makeReport({ layers: 12 }), {}, async (page) => {
    t.equal(await page.title(), 'out/Model.Q4_K_M.gguf - quality')
    t.equal(await textOf(page, 'h1'), 'Model.Q4_K_M.gguf')
    t.match(await textOf(page, '.tiles'), /Signal to noise\d+\.\d dB/)
    t.match(await textOf(page, '#problems'), /blk\.0\.bad\.weight 11\.0 dB worse than usual for Q4_K/)
    t.match(await textOf(page, '#unmatched'), /rope_freqs\.weight \(F32, in the first\) is not in the other/)

    t.equal((await cellsOf(page, 0))[0], 'blk.0.bad.weight', 'the worst comes first')
    const sortBy = (title: string): Promise<void> =>
      page.$$eval(
        '.head button',
        (buttons, title) => buttons.find((button) => button.textContent.startsWith(title))?.click(),
        title,
      )
    await sortBy('tensor')
    const ascending = await cellsOf(page, 0)
    t.same(ascending.slice(0, 2), ['blk.0.attn_k.weight', 'blk.0.attn_norm.weight'])
    await sortBy('tensor')
    t.equal((await cellsOf(page, 0))[0], 'token_embd.weight')
    t.equal(await page.$eval('.head [aria-sort="descending"]', (cell) => cell.textContent), 'tensor ↓')
    await sortBy('tensor')
    t.equal((await cellsOf(page, 0))[2], 'blk.0.attn_output.weight')

    await page.type('input[type=search]', 'ATTN_V 1')
    t.same(
      await cellsOf(page, 0),
      [1, 10, 11].map((layer) => `blk.${layer}.attn_v.weight`),
    )
    t.match(await textOf(page, '#tensors [role=status]'), '3 of 99 tensors')

    // By the keyboard alone.
    await page.focus('.table')
    await page.keyboard.press('ArrowDown')
    await page.keyboard.press('ArrowDown')
    await page.keyboard.press('Enter')
    t.equal(await textOf(page, '.detail h3'), 'blk.10.attn_v.weight')
    t.match(await textOf(page, '.detail'), /Shape4096 × 4096.*TypeBF16 to Q6_K/)
    await page.waitForSelector('.detail svg')

    await page.select('#tensors .controls select', 'rows')
    t.match(await textOf(page, '#tensors [role=status]'), /^12 of \d+ rows/)
  })
})

void test('hovering tells of a cell of the heat map, and a click selects its tensor', { skip }, async (t) => {
  await lookAt(t, makeReport({ layers: 12 }), {}, async (page) => {
    const cell = await page.$('#heat-map rect')
    const box = await cell?.boundingBox()
    if (!box) throw new Error('expected a cell, found none')
    await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2)
    await page.waitForFunction(() =>
      /signal to noise/.test(document.querySelector('#heat-map [aria-label=tip]')?.textContent ?? ''),
    )
    await page.mouse.down()
    await page.mouse.up()
    t.match(await textOf(page, '.detail h3'), /weight$/)
  })
})

void test('names out of files are data: nothing of them runs or becomes an element', { skip }, async (t) => {
  const oddName = '</script><script>throw 1</script><img src=x onerror=alert(1)><!--'
  await lookAt(t, makeReport({ layers: 2, oddName }), {}, async (page) => {
    t.equal((await cellsOf(page, 0))[0], oddName)
    t.equal((await page.$$('img')).length, 0)
    t.equal((await page.$$('script')).length, 0, 'the body was replaced, with all that was in it')
  })
})

void test('compare and quantize write the page where the report ends in .html', async (t) => {
  const folder = t.testdir()
  const place = (name: string): string => join(folder, name)
  const input = 'test/fixtures/hf/small/models/tiny-llama-f32'
  const output = place('model.gguf')
  await quantize(input, output, { recipe: 'Q8_0', pre: 'llama-bpe', report: place('quantize.html') })
  await compare(output, output, { report: place('compare.html') })
  for (const name of ['quantize', 'compare']) {
    const html = readFileSync(place(`${name}.html`), 'utf8')
    t.match(html, /^<!doctype html>/)
    const [, json = ''] = /<script type="application\/json" id="report">(.*?)<\/script>/s.exec(html) ?? []
    t.match(JSON.parse(json), { kind: name, b: { name: output, format: 'gguf' } })
    const [, program = ''] = /<script>(.*?)<\/script>/s.exec(html) ?? []
    t.match(html, `script-src 'sha256-${createHash('sha256').update(program).digest('base64')}'`)
    t.match(html, 'Permission to use, copy, modify', 'the licenses are in it')
  }
})

for (const width of [1280, 400]) {
  for (const scheme of ['light', 'dark'] as const) {
    void test(`at a width of ${width} in ${scheme} nothing is wider than the page`, { skip }, async (t) => {
      await lookAt(t, makeReport({ layers: 32 }), { width, height: 900, scheme }, async (page) => {
        const widest = await page.evaluate(() => document.documentElement.scrollWidth)
        t.equal(widest, width)
        const background = await page.evaluate(() => getComputedStyle(document.body).backgroundColor)
        t.equal(background, scheme === 'light' ? 'rgb(251, 251, 250)' : 'rgb(18, 21, 28)')
      })
    })
  }
}

void test('20,000 tensors open in seconds, scroll to the last, and print on some pages', { skip }, async (t) => {
  const data = makeReport({ layers: 52, experts: 128 })
  t.ok(data.tensors.length > 20_000, `${data.tensors.length} tensors`)
  const start = performance.now()
  await lookAt(t, data, {}, async (page) => {
    const seconds = (performance.now() - start) / 1000
    t.ok(seconds < 20, `open after ${seconds.toFixed(1)} s`)
    const elements = await page.evaluate(() => document.querySelectorAll('*').length)
    t.ok(elements < 10_000, `${elements} elements`)
    await page.focus('.table')
    await page.keyboard.press('End')
    const rows = await page.$$eval('.rows .row', (all) => all.map((row) => Number(row.getAttribute('aria-rowindex'))))
    t.equal(Math.max(...rows), data.tensors.length + 1, 'the last row is there')
    t.ok(rows.length < 100, `${rows.length} rows are`)
    const [top, bottom] = await page.$eval('.rows .active', (row) => {
      const table = row.closest('.table')?.getBoundingClientRect()
      const { top, bottom } = row.getBoundingClientRect()
      return [top - (table?.top ?? 0), (table?.bottom ?? 0) - bottom]
    })
    t.ok((top ?? -1) >= 0 && (bottom ?? -1) >= -1, 'and in view')
    const pdf = await page.pdf()
    t.ok(pdf.length > 10_000, `${pdf.length} bytes of PDF`)
  })
})
