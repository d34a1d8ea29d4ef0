/** What a single token stands for, by the decoder of `tokenizer.json`. */
import { isFields } from '../../../model/found.js'
import { byteAlphabet } from '../byte-alphabet.js'
import { listOf, replace, textOf, unknownPart } from './normalizers.js'

/** @throws AprError `APR_UNSUPPORTED` for a decoder that is not known */
export function decodeToken(decoder: unknown, token: string): string {
  if (!isFields(decoder)) return token
  switch (decoder['type']) {
    case 'ByteLevel':
      return byteAlphabet.decode(token)
    case 'Sequence':
      return listOf(decoder['decoders']).reduce<string>((now, one) => decodeToken(one, now), token)
    case 'Replace':
      return replace(token, decoder)
    case 'ByteFallback':
      return byteOf(token)
    case 'Fuse':
      return token
    case 'Strip':
      return strip(token, textOf(decoder['content']), Number(decoder['start']), Number(decoder['stop']))
    case 'Metaspace':
      return metaspace(token, textOf(decoder['replacement']) || '\u2581', decoder['prepend_scheme'] !== 'never')
    default:
      throw unknownPart('decoder', decoder['type'])
  }
}

function byteOf(token: string): string {
  const byte = /^<0x([0-9A-Fa-f]{2})>$/.exec(token)?.[1]
  if (byte === undefined) return token
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.of(Number.parseInt(byte, 16)))
}

/** Takes off as many characters at the start and at the end at most. */
function strip(token: string, character: string, start: number, stop: number): string {
  let [from, to] = [0, token.length]
  while (character !== '' && from < start && token.startsWith(character, from)) from++
  while (character !== '' && token.length - to < stop && to > from && token.endsWith(character, to)) to--
  return token.slice(from, to)
}

function metaspace(token: string, mark: string, isPrepended: boolean): string {
  const text = isPrepended && token.startsWith(mark) ? token.slice(mark.length) : token
  return text.replaceAll(mark, ' ')
}
