#!/bin/sh
# Reads the Compose file as Compose would, where Compose is. Builds and starts nothing.
set -eu
cd "$(dirname "$0")"

if docker compose version >/dev/null 2>&1; then
    compose='docker compose'
elif command -v docker-compose >/dev/null 2>&1; then
    compose=docker-compose
else
    echo 'docker compose is missing: compose.yaml was not checked'
    exit 0
fi
OWNER_DATABASE_URL=postgresql://owner@postgres/portcullis $compose --file compose.yaml config --quiet
echo 'compose.yaml: as Compose reads it'
