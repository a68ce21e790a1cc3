#!/bin/sh
# Runs every fuzz target for some minutes each: tests/fuzz/run.sh [MINUTES] [TARGET…]
#
# What a target checks is in the module `fuzz` of the crate it is about, whose tests run the committed corpus.
#
# With the coverage that libFuzzer needs and without a sanitizer: that works with the pinned stable toolchain, and the
# code that is fuzzed here is safe Rust. What a target finds is in tests/fuzz/artifacts. `cargo +nightly fuzz run
# --fuzz-dir tests/fuzz TARGET` does the same with AddressSanitizer.
set -eu
cd "$(dirname "$0")"
minutes=${1:-2}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- $(basename -s .rs targets/*.rs)
target=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1" \
    cargo build --locked --release --target "$target" --target-dir ../../target/fuzz
for name in "$@"; do
    mkdir -p "artifacts/$name" "../../target/fuzz/corpus/$name"
    "../../target/fuzz/$target/release/$name" "../../target/fuzz/corpus/$name" "corpus/$name" \
        -max_total_time=$((minutes * 60)) -max_len=32768 -timeout=10 -rss_limit_mb=1024 \
        -artifact_prefix="artifacts/$name/" -print_final_stats=1
done
