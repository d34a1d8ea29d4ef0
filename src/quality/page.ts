/** The report as a page: one file, which asks nothing of any network. */
import type { ReportData } from './report-data.js'
import { reportJson } from './report-json.js'

/**
 * An HTML file that shows a report. All of it is in the text: the program of the page and its style, of which no others
 * run in it, and the data.
 */
export async function renderReport(data: ReportData): Promise<string> {
  // 300 kB, which nobody needs who makes no page.
  const { pageProgram, pageStyle, pageProgramHash, pageNotices } = await import(
    /* webpackMode: "eager" */ './page-source.js'
  )
  const policy = [
    "default-src 'none'",
    `script-src 'sha256-${pageProgramHash}'`,
    // The charts style themselves with attributes.
    "style-src 'unsafe-inline'",
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ')
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>${asText(`${data.b.name} - quality`)}</title>
<link rel="icon" href="data:,">
<style>
${pageStyle}</style>
</head>
<body>
<p>This report needs JavaScript, of which all is in this file.</p>
<script type="application/json" id="report">${asData(data)}</script>
<script>${pageProgram}</script>
<!--
${pageNotices}
-->
</body>
</html>
`
}

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;' }

function asText(text: string): string {
  return text.replace(/[&<>]/g, (character) => ENTITIES[character] ?? character)
}

/** JSON in which no tag can end or begin, whatever names are in it. */
function asData(data: ReportData): string {
  return reportJson(data).replaceAll('<', '\\u003c')
}
