/** Q4_1 and Q5_1: scale and min, from the least and the greatest value. With importance they are searched for. */
import { q4_1Weighted, q5_1Weighted } from "../affine/blocks32";
import { fitPlain } from "./plain";
import { RANGE_BY_15, RANGE_BY_31 } from "./scales";

export function q4_1(blocks: i32, isWeighted: bool): i32 {
  return isWeighted ? q4_1Weighted(blocks) : fitPlain(blocks, RANGE_BY_15);
}

export function q5_1(blocks: i32, isWeighted: bool): i32 {
  return isWeighted ? q5_1Weighted(blocks) : fitPlain(blocks, RANGE_BY_31);
}
