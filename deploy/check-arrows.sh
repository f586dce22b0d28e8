#!/bin/sh
# Who may depend on whom. ARCHITECTURE.md says why; this refuses what differs.
set -eu
cd "$(dirname "$0")/.."

faults=0
fault() {
    echo "dependency arrows: $*" >&2
    faults=1
}

# ours KINDS PACKAGE: the direct dependencies of a package that are members of this workspace
ours() {
    cargo tree --locked --package "$2" --edges "$1" --depth 1 --prefix none --format '{lib}' |
        sed 1d | grep -Ex 'proxy|main_server|worker|shared|certs|private_postgres|local|bench' | sort -u || true
}

# allow PACKAGE DEPENDENCIES [DEPENDENCIES OF ITS TESTS]
allow() {
    for dependency in $(ours normal,build "$1"); do
        case " $2 " in *" $dependency "*) ;; *) fault "$1 must not depend on $dependency" ;; esac
    done
    for dependency in $(ours dev "$1"); do
        case " $2 ${3-} " in *" $dependency "*) ;; *) fault "tests of $1 must not depend on $dependency" ;; esac
    done
}

tests='private_postgres certs shared'
allow proxy shared "$tests"
allow main_server shared "$tests"
allow worker shared "$tests"
allow certs shared "$tests"
allow shared '' "$tests"
allow private_postgres ''
allow local 'shared proxy main_server worker certs private_postgres'
allow bench local

# never PACKAGE DEPENDENCY REASON: not even through others
never() {
    if cargo tree --locked --package "$1" --edges normal,build --prefix none --format '{p}' |
        grep -q "^$2 v"; then
        fault "$1 must not reach $2: $3"
    fi
}

never shared sqlx 'what both ends of a wire agree on knows no SQL'
never private_postgres sqlx 'it serves the tests of every crate and speaks through psql'
never worker sqlx 'a worker knows no database'
for server in proxy main_server worker; do
    never "$server" rcgen 'only the certificate authority issues certificates'
done

if cargo tree --locked --workspace --edges normal,build,dev --prefix none --format '{p}' |
    grep -Eq '^(ring|openssl|native-tls) v'; then
    fault 'aws-lc-rs is the only crypto provider; cargo tree --workspace -i ring (or openssl, native-tls) says who brought another'
fi

exit "$faults"
