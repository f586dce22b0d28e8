#!/bin/sh
# Holds the units to what they are meant to be: an exposure of at most 2.0 by `systemd-analyze security`, and nothing that
# `systemd-analyze verify` does not understand. Needs no running systemd; says so and ends where its tools are missing.
set -eu
cd "$(dirname "$0")"

command -v systemd-analyze >/dev/null 2>&1 || { echo 'systemd-analyze is missing: the units were not checked'; exit 0; }

# A root of our own, with the binaries that the units start, so that nothing of this machine is looked at.
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$root/usr/bin" "$root/bin" "$root/etc/systemd/system" "$root/usr/lib/systemd/system"
for program in usr/bin/portcullis-proxy usr/bin/portcullis-server usr/bin/portcullis-worker usr/bin/portcullis-certs bin/kill; do
    printf '#!/bin/sh\n' >"$root/$program"
    chmod 755 "$root/$program"
done
for target in sysinit basic multi-user network-online shutdown timers time-set time-sync sockets; do
    printf '[Unit]\nDescription=%s\n' "$target" >"$root/usr/lib/systemd/system/$target.target"
done
for slice in system -; do
    printf '[Unit]\nDescription=a slice\n' >"$root/usr/lib/systemd/system/$slice.slice"
done
cp ./*.service ./*.timer ./*.socket "$root/etc/systemd/system/"

faults=0
for unit in *.service; do
    # the threshold is in tenths
    said=$(systemd-analyze security --offline=true --root="$root" --threshold=20 --no-pager "$unit" 2>&1) || {
        echo "$said" >&2
        echo "$unit: its exposure is above 2.0" >&2
        faults=1
    }
    echo "$said" | tail -n 1
done
# A process may have as many files open as all of its doors may have connections, by the reference configuration.
above() { # above UNIT CONFIGURATION DOORS
    most=$(sed -n 's/^LimitNOFILE=//p' "$1")
    connections=$(sed -n 's/^connections = \([0-9]*\).*/\1/p' "../config/$2")
    [ "$most" -gt $((connections * $3)) ] || { echo "$1: LimitNOFILE=$most is not above $3 x $connections" >&2; faults=1; }
}
above portcullis-proxy.service proxy.toml 1
above portcullis-server.service main_server.toml 2
for unit in *.service *.timer *.socket; do
    said=$(systemd-analyze verify --man=no --root="$root" "$unit" 2>&1) || faults=1
    # it may complain and still answer 0
    if [ -n "$said" ]; then
        echo "$unit: $said" >&2
        faults=1
    fi
done
exit "$faults"
