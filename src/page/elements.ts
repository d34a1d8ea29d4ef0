/** Elements of the page. Names out of files are texts here, and never markup. */

export type Child = Node | string | number | null | undefined | false

type Attributes = Readonly<Record<string, string | number | boolean | undefined | ((event: never) => void)>>

/** An element; attributes that are functions are listeners, `class` and `aria-...` are what they are called. */
export function element<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[Tag] {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue
    if (typeof value === 'function') made.addEventListener(name, value as EventListener)
    else made.setAttribute(name, value === true ? '' : String(value))
  }
  append(made, children)
  return made
}

export function replaceChildren(parent: Element, ...children: Child[]): void {
  parent.replaceChildren()
  append(parent, children)
}

function append(parent: Element, children: readonly Child[]): void {
  for (const child of children) {
    if (child !== null && child !== undefined && child !== false) {
      parent.append(typeof child === 'number' ? String(child) : child)
    }
  }
}

/** A part of the page with a heading and what it says. */
export function section(id: string, title: string, text: string, ...children: Child[]): HTMLElement {
  const heading = element('h2', { id: `${id}-title` }, title)
  const lead = text === '' ? null : element('p', { class: 'lead' }, text)
  return element('section', { id, 'aria-labelledby': `${id}-title` }, heading, lead, ...children)
}

/** A choice among values, with its label. */
export function choice<Value extends string>(
  label: string,
  values: readonly (readonly [Value, string])[],
  onChange: (value: Value) => void,
): { readonly root: HTMLElement; set(value: Value): void } {
  const select = element('select', { change: () => onChange(select.value as Value) })
  for (const [value, text] of values) select.append(element('option', { value }, text))
  const set = (value: Value): void => {
    select.value = value
  }
  return { root: element('label', { class: 'control' }, label, select), set }
}
