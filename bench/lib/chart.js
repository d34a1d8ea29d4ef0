/**
 * Charts as SVG text, drawn by Apache ECharts without a browser.
 */
import * as echarts from 'echarts'

const WIDTH_PIXELS = 760
const BAR_PIXELS = 34
/** Title above and axis below the bars. */
const FRAME_PIXELS = 110
const LINE_CHART_HEIGHT_PIXELS = 420

/** Room for a label's character, wide enough for whatever font the reader has: nothing measures text here. */
const LABEL_CHARACTER_PIXELS = 8

const FONT = { fontFamily: 'Helvetica, Arial, sans-serif', color: '#24292f' }
const COLORS = ['#2f6fde', '#e08a1e', '#2a9d6f', '#b4436c', '#6b5fc7', '#6e7781']

/**
 * @typedef {object} BarRow
 * @property {string} label
 * @property {number} value
 * @property {boolean} [emphasis] Drawn in the accent colour; when no row asks for it, all are.
 */

/**
 * Horizontal bars from zero, in the order given, the value at the end of each.
 *
 * @param {{ title: string, unit: string, rows: BarRow[] }} chart
 * @returns {string} A whole SVG document.
 *
 * @example
 * barChart({ title: 'Q4_K, one thread', unit: 'M weights/s', rows: [{ label: 'llama.cpp', value: 15.4 }] });
 */
export function barChart({ title, unit, rows }) {
  const anyEmphasis = rows.some(({ emphasis }) => emphasis)
  const labelPixels = LABEL_CHARACTER_PIXELS * Math.max(...rows.map(({ label }) => label.length))
  return render(FRAME_PIXELS + BAR_PIXELS * rows.length, {
    title: titleOption(title),
    grid: { left: 24 + labelPixels, right: 72, top: 52, bottom: 52 },
    xAxis: {
      type: 'value',
      min: 0,
      name: unit,
      nameLocation: 'middle',
      nameGap: 30,
      axisLabel: FONT,
      nameTextStyle: FONT,
    },
    // The category axis runs upwards: inverted, the first row is on top.
    yAxis: {
      type: 'category',
      inverse: true,
      data: rows.map(({ label }) => label),
      axisLabel: { ...FONT, fontSize: 13 },
      axisTick: { show: false },
    },
    series: [
      {
        type: 'bar',
        barWidth: '62%',
        data: rows.map(({ value, emphasis }) => ({
          value,
          itemStyle: { color: emphasis || !anyEmphasis ? COLORS[0] : '#9aa4b2' },
          label: { show: true, position: 'right', formatter: formatValue(value), ...FONT },
        })),
      },
    ],
  })
}

/**
 * @typedef {object} LineSeries
 * @property {string} name
 * @property {Array<[x: number, y: number]>} points In order of x.
 */

/**
 * Lines over a numeric axis, with a legend.
 *
 * @param {{ title: string, unit: string, xUnit: string, series: LineSeries[] }} chart `unit` is the y axis's.
 * @returns {string} A whole SVG document.
 */
export function lineChart({ title, unit, xUnit, series }) {
  return render(LINE_CHART_HEIGHT_PIXELS, {
    title: titleOption(title),
    legend: { top: 36, left: 12, itemGap: 36, textStyle: FONT },
    grid: { left: 72, right: 32, top: 96, bottom: 56 },
    xAxis: {
      type: 'value',
      name: xUnit,
      nameLocation: 'middle',
      nameGap: 30,
      axisLabel: FONT,
      nameTextStyle: FONT,
      splitLine: { show: false },
    },
    yAxis: { type: 'value', min: 0, name: unit, axisLabel: FONT, nameTextStyle: { ...FONT, align: 'left' } },
    series: series.map(({ name, points }) => ({
      type: 'line',
      name,
      data: points,
      symbolSize: points.length > 40 ? 0 : 6,
    })),
  })
}

/**
 * @param {number} height In pixels.
 * @param {echarts.EChartsOption} option
 */
function render(height, option) {
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: WIDTH_PIXELS, height })
  try {
    // Without `animation: false` the bars would grow from nothing wherever the file is shown.
    chart.setOption({ animation: false, backgroundColor: '#ffffff', color: COLORS, textStyle: FONT, ...option })
    // The style sheet is for hovering only, and its class names carry a count of the charts drawn so far: without them,
    // the same chart is the same text.
    return chart
      .renderToSVGString()
      .replace(/<style[\s\S]*?<\/style>/g, '')
      .replace(/ class="zr[^"]*"/g, '')
  } finally {
    chart.dispose()
  }
}

/** @param {string} text */
function titleOption(text) {
  return { text, left: 12, top: 10, textStyle: { ...FONT, fontSize: 16, fontWeight: 600 } }
}

/** @param {number} value */
function formatValue(value) {
  return value >= 100 ? Math.round(value).toLocaleString('en-US') : String(Number(value.toPrecision(3)))
}
