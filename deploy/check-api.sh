#!/bin/sh
# Tries the running servers by their OpenAPI documents: generated requests, right and wrong ones, and every answer held
# to what docs/openapi says. Starts its own stack on free ports of this machine, and stops it.
# EXAMPLES= generated requests per operation and kind (50); SEED= another choice of them (1).
set -eu
cd "$(dirname "$0")/.."

examples=${EXAMPLES:-50} seed=${SEED:-1}
tree=$PWD home=$PWD/.local/check-api
state=$home/state
python=$home/venv/bin/python
mkdir -p "$home"
exec 9>"$home/lock"
flock --nonblock 9 || { echo "another check-api.sh is running in $home" >&2; exit 1; }

# a private place for schemathesis, made anew when another version is asked for
if ! cmp -s deploy/check-api/requirements.txt "$home/venv/requirements.txt"; then
    rm -rf "$home/venv"
    python3 -m venv "$home/venv"
    "$home/venv/bin/pip" install --quiet --disable-pip-version-check --requirement deploy/check-api/requirements.txt
    cp deploy/check-api/requirements.txt "$home/venv/requirements.txt"
fi

cargo build --locked --package local --package certs
rm -rf "$state"
env -u DATABASE_URL target/debug/portcullis-local up --state "$state" >"$home/stack.log" 2>&1 &
stack=$!
trap 'kill "$stack" 2>/dev/null || true; wait "$stack" || true' EXIT
trap 'exit 1' HUP INT TERM
until [ -e "$state/stack.json" ]; do
    kill -0 "$stack" 2>/dev/null || { cat "$home/stack.log" >&2; exit 1; }
    sleep 0.2
done

of_stack() { "$python" -c 'import json, sys; value = json.load(open(sys.argv[1]))
for step in sys.argv[2:]: value = value[step]
print(value)' "$state/stack.json" "$@"; }
ask() { # ask CERTIFICATE URL [BODY]: as that certificate's holder
    curl --silent --show-error --fail --cacert "$(of_stack ca)" --cert "$1.crt" --key "$1.key" \
        ${3+--header 'Content-Type: application/json' --data "$3"} "$2"
}
clients=$(of_stack proxy url) workers=$(of_stack main_server worker_url)
client=$(of_stack client cert) worker=$(of_stack worker cert)
client=${client%.crt} worker=${worker%.crt}
target/debug/portcullis-certs --dir "$(of_stack pki)" --database-url "$(of_stack database_url)" \
    issue operator check >"$home/operator.log"
operator=$(of_stack pki)/services/operator/check/check
# the main server has to have heard of it, or all that it is answered is 403
tries=100
until ask "$operator" "$workers/api/v1/queues" >"$home/queues.json" 2>"$home/queues.log"; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { cat "$home/queues.log" >&2; echo "the operator's certificate is not admitted" >&2; exit 1; }
    sleep 0.2
done

# Nobody but the tests leases: some messages that wait, and some dead letters, so that there is something to be shown.
frozen=$(of_stack worker pid)
kill -STOP "$frozen"
trap 'kill -CONT "$frozen" 2>/dev/null || true; kill "$stack" 2>/dev/null || true; wait "$stack" || true' EXIT
MESSAGE_ID=
for _ in 1 2 3 4 5 6; do
    MESSAGE_ID=$(ask "$client" "$clients/api/v1/messages" '{"sender_number": "+1234567890", "message_body": "Hello"}' |
        "$python" -c 'import json, sys; print(json.load(sys.stdin)["message_id"])')
done
# The frozen worker's own long poll may still take some; it ends after 20 s, and this goes on until enough are ours.
while :; do
    dead=$(ask "$worker" "$workers/api/v1/jobs/lease" '{"queue": "default", "max": 3, "wait_seconds": 30}' | "$python" -c '
import json, sys
jobs = json.load(sys.stdin)["jobs"]
print(json.dumps({"jobs": [{"job_id": job["job_id"], "lease_token": job["lease_token"], "error": "no", "dead": True}
                           for job in jobs]}) if jobs else "")')
    [ -z "$dead" ] || break
done
DEAD_LETTER_ID=$(ask "$worker" "$workers/api/v1/jobs/fail" "$dead" |
    "$python" -c 'import json, sys; print(json.load(sys.stdin)["results"][0]["job_id"])')
export MESSAGE_ID DEAD_LETTER_ID

faults=0
try() { # try DOCUMENT URL FURTHER OPTIONS…
    document=$1 url=$2
    shift 2
    echo "== $document at $url"
    # from its own folder: it leaves files where it runs
    (cd "$home" && SCHEMATHESIS_HOOKS=hooks PYTHONPATH=$tree/deploy/check-api PYTHONDONTWRITEBYTECODE=1 \
        "$home/venv/bin/st" --config-file "$tree/deploy/check-api/schemathesis.toml" run "$tree/docs/openapi/$document.json" --url "$url" \
        --phases examples,coverage,fuzzing --max-examples "$examples" --seed "$seed" --generation-database none \
        --continue-on-failure --request-timeout 40 --warnings off --no-color "$@") || faults=1
}
as() { # as CERTIFICATE: the options that show it
    echo "--tls-verify $(of_stack ca) --request-cert $1.crt --request-cert-key $1.key"
}
# shellcheck disable=SC2046 # one word per option, and no spaces in the paths of our own state
try proxy "$clients" $(as "$client")
try main_server "$workers" $(as "$worker") --exclude-tag operator
try main_server "$workers" $(as "$operator") --exclude-tag worker
kill -CONT "$frozen"
for process in proxy main_server worker; do
    try management "$(of_stack "$process" management)"
done
exit "$faults"
