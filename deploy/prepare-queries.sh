#!/bin/sh
# Writes .sqlx (what `query!` needs to compile without a database) anew, against a private cluster with
# the migrations as they are now. With --check: writes it elsewhere and compares. Needs no network.
set -eu
cd "$(dirname "$0")/.."

crates='proxy main_server certs'

if [ "${1-}" = --inside ]; then # DATABASE_URL is that of the private cluster
    packages=
    for crate in $crates; do
        packages="$packages --package $crate"
        touch "$crate/src/lib.rs" # or cargo would not expand the macros again
    done
    # shellcheck disable=SC2086 # one word per option
    SQLX_OFFLINE=false SQLX_OFFLINE_DIR=$2 exec cargo check --quiet --locked $packages
fi

fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
trap 'exit 1' HUP INT TERM
cargo run --quiet --locked --package private_postgres --bin with-postgres -- deploy/prepare-queries.sh --inside "$fresh"
if [ "${1-}" = --check ]; then
    diff -r .sqlx "$fresh" || { echo '.sqlx is not up to date: run `make sqlx` and commit it' >&2; exit 1; }
else
    mkdir -p .sqlx
    rm -f .sqlx/query-*.json
    cp "$fresh"/query-*.json .sqlx/
fi
