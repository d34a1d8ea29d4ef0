import { toInt } from '../../recipes/llama/c-numbers.js'

/** What llama-quantize makes files of, in its order, with the numbers that it takes for names. */
export const FILE_TYPES: Readonly<Record<string, number>> = {
  ...{ Q1_0: 40, Q2_0: 41, Q4_0: 2, Q4_1: 3, MXFP4_MOE: 38, Q5_0: 8, Q5_1: 9 },
  ...{ IQ2_XXS: 19, IQ2_XS: 20, IQ2_S: 28, IQ2_M: 29, IQ1_S: 24, IQ1_M: 31, TQ1_0: 36, TQ2_0: 37 },
  ...{ Q2_K: 10, Q2_K_S: 21, IQ3_XXS: 23, IQ3_S: 26, IQ3_M: 27, Q3_K: 12, IQ3_XS: 22 },
  ...{ Q3_K_S: 11, Q3_K_M: 12, Q3_K_L: 13, IQ4_NL: 25, IQ4_XS: 30 },
  ...{ Q4_K: 15, Q4_K_S: 14, Q4_K_M: 15, Q5_K: 17, Q5_K_S: 16, Q5_K_M: 17, Q6_K: 18, Q8_0: 7 },
  ...{ F16: 1, BF16: 32, F32: 0 },
  /** Tensors as they are. Behind F32, so that the number 0 is not its. */
  COPY: 0,
}

/** The name of a file type, of its name in any case or of a text that starts with its number; undefined for others. */
export function fileTypeOf(text: string): string | undefined {
  const names = Object.keys(FILE_TYPES)
  const number = toInt(text)
  return names.find((name) => name === text.toUpperCase()) ?? names.find((name) => FILE_TYPES[name] === number)
}
