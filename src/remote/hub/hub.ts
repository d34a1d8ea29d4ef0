/** Models on the Hugging Face Hub: `hf://org/model[@revision][/file]`. */
import { homedir } from 'node:os'
import { join } from 'node:path'
import { readFile } from 'node:fs/promises'
import { AprError, printable } from '../../model/errors.js'
import { isFields } from '../../model/found.js'
import { remoteError } from '../address.js'
import { requestJson } from '../http/json.js'
import type { Locator } from '../http/locator.js'
import type { Patience } from '../http/ranges.js'
import type { Answer } from '../http/get.js'

/** A model at one commit, or a file of it. */
export interface HubPlace {
  readonly endpoint: string
  /** `org/model`. */
  readonly repository: string
  /** Forty hexadecimal digits: what it names never changes. */
  readonly commit: string
  /** In the repository; '' for the whole of it. */
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
}

/**
 * Finds the commit of what a URL names: a branch may move while it is read.
 * @throws AprError `APR_BAD_OPTION` for another URL, `APR_REMOTE` for a model that is not there, or not for this user
 */
export async function findOnHub(url: string, patience: Patience): Promise<HubPlace> {
  const found = /^hf:\/\/([^/@]+\/[^/@]+)(?:@([^/]+))?(?:\/(.*))?$/i.exec(url)
  const [, repository, , path = ''] = found ?? []
  const revision: string | undefined = found?.[2]
  if (repository === undefined) {
    throw new AprError('APR_BAD_OPTION', `expected hf://org/model[@revision][/file], found "${printable(url)}"`)
  }
  const endpoint = (process.env['HF_ENDPOINT'] ?? 'https://huggingface.co').replace(/\/+$/, '')
  const token = await hubToken()
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
  if (revision !== undefined && isCommit(revision)) return { endpoint, repository, commit: revision, path, headers }
  const asked = encodeURIComponent(decodeURIComponent(revision ?? 'main'))
  const address = { url: `${endpoint}/api/models/${repository}/revision/${asked}`, headers }
  const { body, answer, isMissing } = await requestJson({ address, name: url, patience, explain })
  if (isMissing) throw remoteError(`expected a model, found status ${answer.status}: ${explain(answer) ?? ''}`, url)
  const commit = isFields(body) ? body['sha'] : undefined
  if (typeof commit !== 'string' || !isCommit(commit)) {
    throw remoteError('expected the commit of a revision, forty hexadecimal digits, found none', url)
  }
  return { endpoint, repository, commit, path, headers }
}

function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision)
}

/** A file of a model. */
export function hubLocator(place: HubPlace, path: string): Locator {
  const { endpoint, repository, commit, headers } = place
  const url = `${endpoint}/${repository}/resolve/${commit}/${encodePath(path)}`
  return {
    name: hubName(place, path),
    version: commit,
    locate: () => Promise.resolve({ url, headers }),
    explain,
  }
}

/** A file's URL with its commit, by which it is found again. */
export function hubName({ repository, commit }: HubPlace, path: string): string {
  return `hf://${repository}@${commit}${path === '' ? '' : `/${path}`}`
}

/** Names of the files and folders in a folder of a model; none where there is no such folder. */
export async function listHub(place: HubPlace, folder: string, patience: Patience): Promise<string[]> {
  const { endpoint, repository, commit, headers } = place
  const inside = folder === '' ? '' : `/${encodePath(folder)}`
  const names: string[] = []
  let next: string | undefined = `${endpoint}/api/models/${repository}/tree/${commit}${inside}`
  while (next !== undefined) {
    const name = hubName(place, folder)
    const { body, answer, isMissing } = await requestJson({ address: { url: next, headers }, name, patience, explain })
    if (isMissing && folder !== '') return []
    if (!Array.isArray(body)) throw remoteError('expected a list of files, found something else', name)
    for (const entry of body as unknown[]) {
      const path = isFields(entry) ? entry['path'] : undefined
      if (typeof path === 'string') names.push(path.split('/').at(-1) ?? path)
    }
    next = nextPage(answer, endpoint)
  }
  return names
}

/** The token of the environment, or the one that the Hub's own command line has written. */
async function hubToken(): Promise<string | undefined> {
  const { HF_TOKEN, HF_TOKEN_PATH, HF_HOME, XDG_CACHE_HOME } = process.env
  if (HF_TOKEN !== undefined && HF_TOKEN !== '') return HF_TOKEN.trim()
  const home = HF_HOME ?? join(XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'huggingface')
  const text = await readFile(HF_TOKEN_PATH ?? join(home, 'token'), 'utf8').catch(() => '')
  return text.trim() === '' ? undefined : text.trim()
}

/** Only pages of the Hub's own are asked for: the token goes with it. */
function nextPage({ headers }: Answer, endpoint: string): string | undefined {
  const next = /<([^>]+)>\s*;\s*rel="?next"?/.exec(headers['link'] ?? '')?.[1]
  if (next === undefined || !URL.canParse(next, endpoint)) return undefined
  const url = new URL(next, endpoint)
  return url.origin === new URL(endpoint).origin ? url.href : undefined
}

function encodePath(path: string): string {
  return path.split('/').map(encodeURIComponent).join('/')
}

function explain({ status, headers }: Answer): string | undefined {
  const code = headers['x-error-code']
  if (status === 401 || status === 403 || code === 'GatedRepo') {
    const what =
      code === 'GatedRepo'
        ? 'the model is gated: ask for access on its page, and '
        : 'it is private, gated or not there; '
    return `${what}set HF_TOKEN to a token that may read it`
  }
  if (code === 'EntryNotFound') return 'the model has no such file'
  if (code === 'RevisionNotFound') return 'the model has no such revision'
  if (code === 'RepoNotFound' || status === 404) return 'there is no such model, or a token is needed (HF_TOKEN)'
  return undefined
}
