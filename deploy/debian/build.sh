#!/bin/sh
# Builds the Debian packages into target/debian: one per process, because each belongs on machines of its own, and one for
# the certificate authority, whose keys belong on none of them.
set -eu
cd "$(dirname "$0")/../.."

tools=$PWD/.local/tools
if ! [ -x "$tools/bin/cargo-deb" ]; then
    cargo install cargo-deb --version 3.8.0 --locked --no-default-features --root "$tools"
fi
cargo build --release --locked --package proxy --package main_server --package worker --package certs
for package in proxy main_server worker certs; do
    "$tools/bin/cargo-deb" --no-build --strip --locked --package "$package" --output target/debian/
done
