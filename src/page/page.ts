/** The program of the page: reads the data that stands in it, and shows it. Runs in a browser, and asks for nothing. */
import { bytesAndDamage } from './charts/bytes-and-damage.js'
import { distribution } from './charts/distribution.js'
import { heatMap } from './charts/heat-map.js'
import { sizeAndError } from './charts/size-and-error.js'
import { detail } from './detail.js'
import { readReport, Selection } from './report.js'
import { figures, header, problems, types, unmatched } from './summary.js'
import { tensorTable } from './table/tensors.js'

const report = readReport()
const selection = new Selection()
const table = tensorTable(report, selection, detail(selection))
const main = document.createElement('main')
const views = [
  figures(report),
  problems(report, () => table.showProblems()),
  heatMap(report, selection),
  bytesAndDamage(report),
  types(report),
  sizeAndError(report, selection),
  distribution(report, selection),
  table.root,
  unmatched(report),
]
main.append(...views.filter((view) => view !== null))
document.body.replaceChildren(header(report), main)
