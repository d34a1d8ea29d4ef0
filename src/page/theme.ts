/** Colours that the charts compute; all others are in page.css. */

const dark = matchMedia('(prefers-color-scheme: dark)')
let isPrinted = false

export const isDark = (): boolean => dark.matches && !isPrinted

/** Calls when the page is to be drawn in other colours: as the system changes, and for paper, which is white. */
export function onThemeChange(draw: () => void): void {
  dark.addEventListener('change', draw)
  const print = (now: boolean) => (): void => {
    isPrinted = now
    draw()
  }
  addEventListener('beforeprint', print(true))
  addEventListener('afterprint', print(false))
}

/** Loss is what stands out of the page: the less signal, the further from its background. */
const LOSS = {
  light: ['#7a1030', '#c2402f', '#ec9a4b', '#f6d9a8', '#eef0ea'],
  dark: ['#ff8a5c', '#e0565b', '#a8407a', '#5f3a78', '#2c3350'],
}

/** Worse than usual for the type, usual, better. */
const AGAINST = {
  light: ['#9c1f3f', '#e08a70', '#eef0ee', '#79aecb', '#1d5f8f'],
  dark: ['#ff7c6b', '#a84a58', '#333a4d', '#3f7fa8', '#7cc7f2'],
}

/** Colours of 0 to 1, as `rgb(...)`. */
type Colors = (part: number) => string

export const lossColors = (): Colors => between(LOSS[isDark() ? 'dark' : 'light'])
export const againstColors = (): Colors => between(AGAINST[isDark() ? 'dark' : 'light'])

function between(stops: readonly string[]): Colors {
  const colors = stops.map(channelsOf)
  return (part) => {
    const place = part * (colors.length - 1)
    const low = Math.min(colors.length - 2, Math.floor(place))
    const [from = [], to = []] = [colors[low], colors[low + 1]]
    return rgb(from.map((channel, i) => channel + ((to[i] ?? 0) - channel) * (place - low)))
  }
}

const channelsOf = (hex: string): number[] => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16))
const rgb = (channels: readonly number[]): string => `rgb(${channels.map(Math.round).join(', ')})`

/** For a cell without error. */
export const exactColor = (): string => rgb(channelsOf(isDark() ? '#1d2230' : '#f1f2f0'))

/** Black or white, whichever can be read on a colour `rgb(...)`. */
export function inkOn(color: string): string {
  const [red = 0, green = 0, blue = 0] = Array.from(color.matchAll(/\d+/g), ([digits]) => Number(digits))
  return 0.299 * red + 0.587 * green + 0.114 * blue > 140 ? '#10131a' : '#ffffff'
}

/** Colours of kinds: told apart by those who see red and green alike, on both backgrounds. */
export const KIND_COLORS = [
  ...['#4e79a7', '#f28e2b', '#59a14f', '#b07aa1', '#e15759', '#76b7b2', '#d4a72c', '#9c755f', '#ff9da7', '#8f9bb3'],
]
