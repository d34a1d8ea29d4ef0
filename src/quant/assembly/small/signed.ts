/** Q4_0, Q5_0 and Q8_0: a scale alone. The searches that importance asks for are elsewhere. */
import { q4_0Weighted, q5_0Weighted } from "../signed/small";
import { fitPlain } from "./plain";
import { MAGNITUDE_BY_127, TOP_BY_16, TOP_BY_8 } from "./scales";

export function q4_0(blocks: i32, isWeighted: bool): i32 {
  return isWeighted ? q4_0Weighted(blocks) : fitPlain(blocks, TOP_BY_8);
}

export function q5_0(blocks: i32, isWeighted: bool): i32 {
  return isWeighted ? q5_0Weighted(blocks) : fitPlain(blocks, TOP_BY_16);
}

/** An importance matrix does not count. */
export function q8_0(blocks: i32, _isWeighted: bool): i32 {
  return fitPlain(blocks, MAGNITUDE_BY_127);
}
