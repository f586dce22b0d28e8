#!/bin/sh
# Installs the Debian packages that building, running and testing need and that are missing; with a word, those that
# the make target of that name needs too: bench, check-api. Silent when none is. Not root: says what to install, exits 1.
set -eu

case ${1-} in
''|bench|check-api) ;;
*) echo "usage: $0 [bench|check-api]" >&2; exit 64 ;;
esac

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
if [ "${1-}" = bench ]; then
    # what Portcullis is measured beside; whether they are there is asked by path, as sbin need not be in PATH
    [ -x /usr/sbin/nginx ] || missing="$missing nginx-light"
    [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || missing="$missing rabbitmq-server"
fi

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
    case $missing in *nginx-light*|*rabbitmq-server*)
        # these two would start services of the system's, on their usual ports, which nothing here needs
        [ -e /usr/sbin/policy-rc.d ] || install="printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && \
chmod +x /usr/sbin/policy-rc.d && $install; rm /usr/sbin/policy-rc.d"
        ;;
    esac
    echo "as root, run: $install" >&2
    exit 1
fi

echo "installing what is missing:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# Packages would start services of the system's, on their usual ports: Postgres a cluster, nginx and RabbitMQ
# themselves. Ours are private: say no for the time of this installation, and leave things as they were.
settings=/etc/postgresql-common/createcluster.conf
policy=/usr/sbin/policy-rc.d
undo() {
    [ ! -e "$settings.before-portcullis" ] || mv "$settings.before-portcullis" "$settings"
    [ -z "${policy_is_ours-}" ] || rm -f "$policy"
}
trap undo EXIT
trap 'exit 1' HUP INT TERM
case $missing in *postgresql*)
    apt-get install -y -qq --no-install-recommends postgresql-common
    cp -p "$settings" "$settings.before-portcullis"
    echo 'create_main_cluster = false' >>"$settings"
    ;;
esac
case $missing in *nginx-light*|*rabbitmq-server*)
    if [ ! -e "$policy" ]; then
        policy_is_ours=yes
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    ;;
esac
# shellcheck disable=SC2086 # one word per package
apt-get install -y -qq --no-install-recommends $missing
