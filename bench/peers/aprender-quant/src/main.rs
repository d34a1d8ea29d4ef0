//! Times `quantize_q4_k` of the crate `aprender-quant` on one thread.
//!
//! `aprender-quant-bench VALUES.f32 RUNS [BLOCKS_OUT]`: little-endian f32 values, quantized as a whole `RUNS` times
//! after one untimed run. Prints `{"weightsPerSecond":median,"runs":[...]}`; writes the Q4_K blocks where asked.

// The crate `aprender-quant` calls its library `trueno_quant`.
use trueno_quant::quantize_q4_k;
use std::hint::black_box;
use std::time::Instant;

fn main() {
    if let Err(reason) = run() {
        eprintln!("aprender-quant-bench: {reason}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, runs, rest @ ..] = arguments.as_slice() else {
        return Err("expected VALUES.f32 RUNS [BLOCKS_OUT]".into());
    };
    let run_count: usize = runs.parse().map_err(|_| format!("expected a count of runs, found {runs:?}"))?;
    if run_count == 0 {
        return Err("expected at least 1 run, found 0".into());
    }
    let values = read_values(input)?;

    let blocks = quantize_q4_k(&values);
    if let [output, ..] = rest {
        std::fs::write(output, &blocks).map_err(|error| format!("{output}: {error}"))?;
    }

    let mut rates = Vec::with_capacity(run_count);
    for _ in 0..run_count {
        let start = Instant::now();
        black_box(quantize_q4_k(black_box(&values)));
        rates.push(values.len() as f64 / start.elapsed().as_secs_f64());
    }
    let runs: Vec<String> = rates.iter().map(|rate| format!("{rate:.0}")).collect();
    println!("{{\"weightsPerSecond\":{:.0},\"runs\":[{}]}}", median(&rates), runs.join(","));
    Ok(())
}

fn read_values(path: &str) -> Result<Vec<f32>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    if bytes.is_empty() || bytes.len() % 4 != 0 {
        return Err(format!("{path}: expected a positive multiple of 4 bytes, found {}", bytes.len()));
    }
    Ok(bytes.chunks_exact(4).map(|value| f32::from_le_bytes([value[0], value[1], value[2], value[3]])).collect())
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}
