/** Names of a checkpoint's tensors, before the tables of the architectures. */

/** What sees and hears in models that do more than text. */
const STARTS =
  /^(mlp|vit\.|vpm\.|siglip2\.|conformer\.|merger\.|resampler\.|sound_(encoder|projection)\.|speech_embeddings\.)/
const PARTS =
  /(visual|vision|audio|talker|token2wav|code2wav|projector|patch_merger|patch_merge_mlp|model\.connector)\.|(vision|audio)_|pre_mm_projector_norm|image_newline|view_seperator|patch_embed/

/** Made anew, or of no use, in GGUF. */
const DROPPED = /\.(attention\.masked_bias|attention\.bias|rotary_emb\.inv_freq)$/

/** Whether a tensor belongs to what reads and writes text. */
export function isOfText(name: string): boolean {
  return !STARTS.test(name) && !PARTS.test(name)
}

export function isDropped(name: string): boolean {
  return DROPPED.test(name)
}

/**
 * The name that a text model with a head has.
 * @param isHeadless whether the model's class is one without
 */
export function plainName(name: string, isHeadless: boolean): string {
  const plain = name
    .replaceAll('language_model.', '')
    .replaceAll('text_model.', '')
    .replace(/e_score_correction_bias$/, 'e_score_correction.bias')
  return isHeadless ? `model.${plain}` : plain
}
