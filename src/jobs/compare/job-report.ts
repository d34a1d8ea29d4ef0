/** The report of a job that quantizes: figures that its threads take as they make blocks, and the decisions beside them. */
import type { OpenedModel } from '../../formats/format.js'
import type { Model } from '../../model/model.js'
import { isPlaceholder } from '../../model/tensor.js'
import { isDecodable } from '../../quant/decode.js'
import { REPORT_SCHEMA_VERSION, type ReportData, type TensorFigures } from '../../quality/report-data.js'
import { grouped, reportModel, TallyBook } from '../../quality/report.js'
import { isQuantized, type Decision } from '../../streams/quantize/quantization.js'
import type { TalliedPart } from '../../streams/quantize/stage.js'
import { VERSION } from '../../version.js'
import { withPredictions } from './predicted.js'

/** What is known when the job is done. */
export interface DoneJob {
  readonly opened: OpenedModel
  readonly output: { readonly name: string; readonly bytes: number }
  readonly derived: Model
  /** In the order of the plan. */
  readonly decisions: Iterable<Decision>
  readonly recipe: string | undefined
  /** What the importance matrix is, where there is one. */
  readonly importance: string | undefined
}

export class JobFigures {
  readonly #book = new TallyBook()

  readonly add = ({ from, tally, isWeighted }: TalliedPart): void => this.#book.add(from, tally, isWeighted)

  report({ opened, output, derived, decisions, recipe, importance }: DoneJob): ReportData {
    const { input, model, size } = opened
    const tensors: TensorFigures[] = []
    for (const decision of decisions) {
      const { from, to, reason } = decision
      // What has no numbers of its own, or none that can be read, has no figures.
      if (isPlaceholder(from) || !isDecodable(from.dtype) || !isDecodable(to.dtype)) continue
      const figures = this.#book.figuresOf({ name: from.name, a: from, b: to })
      const action = isQuantized(decision) ? 'quantize' : 'keep'
      const rule = 'rule' in decision ? { rule: decision.rule } : {}
      tensors.push({ ...figures, decision: { action, reason, ...rule } })
    }
    return {
      schemaVersion: REPORT_SCHEMA_VERSION,
      generator: `apr-stream ${VERSION}`,
      kind: 'quantize',
      a: reportModel({ name: input.name, format: model.format, bytes: size }, model.tensors),
      b: reportModel({ name: output.name, format: derived.format, bytes: output.bytes }, derived.tensors),
      ...(recipe !== undefined && { recipe }),
      ...(importance !== undefined && { importance }),
      ...grouped(withPredictions(tensors)),
      ...{ onlyInA: [], onlyInB: [] },
    }
  }
}
