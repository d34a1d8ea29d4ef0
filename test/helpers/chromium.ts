/** A real browser that looks at a page: Debian's Chromium, or the one that CHROMIUM names. */
import { existsSync } from 'node:fs'
import puppeteer, { type Browser, type Page } from 'puppeteer-core'
import type { Test } from 'tap'

const PLACES = [
  process.env['CHROMIUM'],
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
]
const CHROMIUM = PLACES.find((path) => path !== undefined && existsSync(path))

/** For a test's `skip`: why there is no browser here, or false. */
export const noChromium: string | false = CHROMIUM === undefined && 'there is no Chromium here'

/** One browser, closed at the end of the test. */
export async function startChromium(t: Test): Promise<Browser> {
  if (CHROMIUM === undefined) throw new Error('no Chromium: skip the test with noChromium')
  const browser = await puppeteer.launch({
    executablePath: CHROMIUM,
    // Containers of CI run as root and have a small /dev/shm.
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--force-color-profile=srgb', '--hide-scrollbars'],
  })
  t.teardown(() => browser.close())
  return browser
}

export interface WatchedPage {
  readonly page: Page
  /** What the console said and what was thrown, in the order of the happenings; empty is good. */
  readonly said: string[]
  /** Addresses that were asked for; `data:` and `blob:` are not among them. */
  readonly requests: string[]
}

export interface PageLook {
  /** In CSS pixels; 1,280 x 800 where not given. */
  readonly width?: number
  readonly height?: number
  readonly scheme?: 'light' | 'dark'
  /** Of the pictures: pixels of a CSS pixel. */
  readonly scale?: number
}

/** A new tab of which all is noted that it says and asks for. */
export async function openPage(browser: Browser, url: string, look: PageLook = {}): Promise<WatchedPage> {
  const { width = 1280, height = 800, scheme = 'light', scale = 1 } = look
  const page = await browser.newPage()
  const said: string[] = []
  const requests: string[] = []
  page.on('console', (message) => said.push(`${message.type()}: ${message.text()}`))
  page.on('pageerror', (error) => said.push(`thrown: ${error instanceof Error ? error.message : String(error)}`))
  page.on('request', (request) => {
    if (!/^(data|blob):/.test(request.url())) requests.push(request.url())
  })
  await page.setViewport({ width, height, deviceScaleFactor: scale })
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }])
  await page.goto(url)
  return { page, said, requests }
}
