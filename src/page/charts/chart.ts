/** A chart that is drawn again when its width or the colours change. */
import { element } from '../elements.js'
import { onThemeChange } from '../theme.js'

export interface Chart {
  readonly root: HTMLElement
  /** Draws it again. */
  draw(): void
}

/** @param make of a width in CSS pixels */
export function chart(label: string, make: (width: number) => Element): Chart {
  const root = element('figure', { class: 'chart' })
  let width = 0
  const draw = (): void => {
    if (width === 0) return
    const drawn = make(width)
    const svg = drawn instanceof SVGSVGElement ? drawn : drawn.querySelector('svg')
    svg?.setAttribute('role', 'img')
    svg?.setAttribute('aria-label', label)
    root.replaceChildren(drawn)
  }
  new ResizeObserver(([entry]) => {
    const now = Math.floor(entry?.contentRect.width ?? 0)
    if (now === width || now === 0) return
    width = now
    draw()
  }).observe(root)
  onThemeChange(draw)
  return { root, draw }
}

/** Below this the page is a phone's. */
export const NARROW = 640
