/** Where a report goes: a file that appears whole or not at all. */
import { randomUUID } from 'node:crypto'
import fs from 'fs-extra'
import { checkPlace, findPlace, outputPath, statOrUndefined } from '../../files/output/output-place.js'
import { putInPlace } from '../../files/output/placing.js'
import { toPath } from '../../files/path.js'
import { AprError } from '../../model/errors.js'
import { renderReport } from '../../quality/page.js'
import type { ReportData } from '../../quality/report-data.js'
import { reportJson } from '../../quality/report-json.js'

export class ReportOutput {
  readonly #path: string
  readonly #overwrite: boolean

  readonly #isPage: boolean

  private constructor(path: string, overwrite: boolean, isPage: boolean) {
    this.#path = path
    this.#isPage = isPage
    this.#overwrite = overwrite
  }

  /**
   * Checks the place before anything is done; touches nothing.
   * @param others paths of files that the job writes, which it must not be
   * @throws AprError `APR_BAD_OPTION` for another ending than `.json` and `.html`, `APR_EXISTS`, `APR_SAME_FILE`
   */
  static async open(report: string | URL, overwrite: boolean, others: readonly string[] = []): Promise<ReportOutput> {
    const given = toPath('report', report)
    if (!/\.(json|html)$/.test(given)) {
      throw new AprError('APR_BAD_OPTION', 'expected report to be a file that ends in .json or .html', { file: given })
    }
    const { path } = await findPlace(outputPath(given))
    if (others.includes(path)) {
      throw new AprError('APR_SAME_FILE', 'expected a report that is not the output, found the same file', {
        file: given,
      })
    }
    await checkPlace(path, overwrite)
    return new ReportOutput(path, overwrite, given.endsWith('.html'))
  }

  /** @throws AprError `APR_EXISTS` where a file came meanwhile; the file system's own errors */
  async write(data: ReportData): Promise<void> {
    const text = this.#isPage ? await renderReport(data) : reportJson(data)
    const partial = `${this.#path}.${randomUUID()}.partial`
    try {
      await fs.writeFile(partial, text, { flag: 'wx', flush: true })
      if (this.#overwrite) await fs.rename(partial, this.#path)
      else await putInPlace(this.#path, partial)
    } finally {
      if (await statOrUndefined(partial)) await fs.unlink(partial)
    }
  }
}
