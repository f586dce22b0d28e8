#!/bin/sh
# Installs the Debian packages that building, running and testing need and that are missing.
# Silent when none is. Not root: says what to install and exits 1.
# install-packages.sh check-api: what `make check-api` needs beside.
set -eu

missing=
need() { # need PACKAGE COMMAND
    command -v "$2" >/dev/null 2>&1 || missing="$missing $1"
}

need curl curl
need openssl openssl
need gcc cc
need make make
[ -e /usr/include/stdio.h ] || missing="$missing libc6-dev"
[ -e /etc/ssl/certs/ca-certificates.crt ] || missing="$missing ca-certificates"
server=
for program in /usr/lib/postgresql/*/bin/postgres; do
    [ -x "$program" ] && server=$program
done
[ -n "$server" ] || command -v postgres >/dev/null 2>&1 || missing="$missing postgresql"
case $missing in *postgresql*) ;; *) need postgresql-client psql ;; esac

if [ "${1-}" = check-api ]; then
    python3 -c 'import venv, ensurepip' 2>/dev/null || missing="$missing python3-venv"
fi

[ -n "$missing" ] || exit 0

install="apt-get install -y --no-install-recommends$missing"
if ! command -v cargo >/dev/null 2>&1; then
    echo "cargo is missing too: install a Rust toolchain, see https://rustup.rs" >&2
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "missing:$missing (these are Debian's names; install the like of them)" >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "missing:$missing" >&2
    case $missing in *' postgresql'|*' postgresql '*)
        # Debian's package would start a cluster of the system's, on port 5432, which nothing here needs
        install="apt-get install -y --no-install-recommends postgresql-common && \
echo 'create_main_cluster = false' >>/etc/postgresql-common/createcluster.conf && $install"
        ;;
    esac
    echo "as root, run: $install" >&2
    exit 1
fi

echo "installing what is missing:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# The package would make and start a cluster of the system's, on port 5432. Ours are private: say no
# for the time of this installation, and leave the file as it was.
case $missing in *postgresql*)
    apt-get install -y -qq --no-install-recommends postgresql-common
    settings=/etc/postgresql-common/createcluster.conf
    cp -p "$settings" "$settings.before-portcullis"
    trap 'mv "$settings.before-portcullis" "$settings"' EXIT
    trap 'exit 1' HUP INT TERM
    echo 'create_main_cluster = false' >>"$settings"
    ;;
esac
# shellcheck disable=SC2086 # one word per package
apt-get install -y -qq --no-install-recommends $missing
