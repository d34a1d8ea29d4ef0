#!/bin/sh
# Plans a model and submits its parts, then the end. Usage: sh submit.sh INPUT OUTPUT JOB.json [flags of quantize]
set -e
input=$1 output=$2 job=$3
shift 3
here=$(dirname "$0")
units=$(apr-stream plan "$input" -o "$output" --save "$job" "$@")
array=$(sbatch --parsable --array="0-$((units - 1))" "$here/parts.sbatch" "$job")
sbatch --dependency="afterok:${array%%;*}" "$here/finish.sbatch" "$job"
