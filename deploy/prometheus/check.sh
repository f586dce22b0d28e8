#!/bin/sh
# The alert rules, read and tried by promtool. Debian's package `prometheus` has it, and would start a server; so where it
# is not installed, the program alone is taken out of the package, into .local/tools.
set -eu
cd "$(dirname "$0")"

tools=$PWD/../../.local/tools
promtool=$(command -v promtool || echo "$tools/promtool")
if ! [ -x "$promtool" ]; then
    command -v apt-get >/dev/null 2>&1 || { echo 'promtool is missing: the rules were not checked'; exit 0; }
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    trap 'exit 1' HUP INT TERM
    (cd "$folder" && apt-get download prometheus >download.log 2>&1 && dpkg-deb --fsys-tarfile prometheus_*.deb |
        tar --extract ./usr/bin/promtool) || { cat "$folder/download.log" >&2; exit 1; }
    mkdir -p "$tools"
    mv "$folder/usr/bin/promtool" "$promtool"
fi
"$promtool" check config prometheus.yml
"$promtool" test rules rules_test.yml
