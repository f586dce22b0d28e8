#!/bin/sh
# Runs every fuzz target of fuzz/ for a while, from its seeds and what earlier runs found. FUZZ_SECONDS= each (20),
# FUZZ_TARGET= one of them only. Exit 1 at the first input that breaks a claim; it is kept in fuzz/artifacts.
set -eu
cd "$(dirname "$0")/.."

seconds=${FUZZ_SECONDS:-20}
tools=$PWD/.local/tools
if ! [ -x "$tools/bin/cargo-fuzz" ]; then
    cargo install cargo-fuzz --version 0.13.2 --locked --root "$tools"
fi
PATH=$tools/bin:$PATH
# coverage and the address sanitizer are options of the compiler that a stable one keeps to itself
export RUSTC_BOOTSTRAP=1
# --locked is no option of cargo-fuzz
cargo metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null
for target in ${FUZZ_TARGET:-$(cargo fuzz list)}; do
    mkdir -p "fuzz/corpus/$target"
    echo "fuzz target $target, $seconds s"
    cargo fuzz run "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=16384 -print_final_stats=1
done
