//! The whole job by the reference: `apr-convert IN.apr OUT.apr` quantizes a file to Q4_K with `apr_convert`.
//!
//! The library streams only files of 4 GiB and more; `APR_STREAMING_THRESHOLD=0` in the environment makes it stream
//! any file. Prints `{"tensors":...,"inputBytes":...,"outputBytes":...,"seconds":...}`.

use aprender::format::{apr_convert, ConvertOptions, QuantizationType};
use std::time::Instant;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output] = arguments.as_slice() else {
        eprintln!("apr-convert: expected IN.apr OUT.apr");
        std::process::exit(2);
    };
    let options = ConvertOptions {
        quantize: Some(QuantizationType::Q4K),
        ..ConvertOptions::default()
    };
    let start = Instant::now();
    match apr_convert(input, output, options) {
        Ok(report) => println!(
            "{{\"tensors\":{},\"inputBytes\":{},\"outputBytes\":{},\"seconds\":{:.6}}}",
            report.tensor_count,
            report.original_size,
            report.converted_size,
            start.elapsed().as_secs_f64()
        ),
        Err(error) => {
            eprintln!("apr-convert: {error}");
            std::process::exit(1);
        }
    }
}
