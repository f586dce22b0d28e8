# What people run. Each target is one line of work; the work itself is in `deploy/`.

# where `make run` keeps its certificates, its database and its logs
STATE ?= .local/run

.DEFAULT_GOAL := help
# how long `make soak` goes on at least, and which faults in which order: SEED= of an earlier run repeats them
SECONDS ?= 60
SEED ?=
# more words for the bench, such as BENCH="--figure ingest_single --runs 3"
BENCH ?=

.PHONY: help run test soak fuzz check check-api check-deploy deb sqlx bench bench-quick packages

help: ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

run: packages ## build it, start everything on this machine, send one message; Ctrl-C stops it all
	@exec cargo run --release --locked --package local -- up --state $(STATE) --documented-ports

test: packages ## every test; they start all they need on free ports
	cargo test --workspace --locked

soak: packages ## everything killed again and again while clients send; SECONDS= SEED=; fails if anything is lost
	cargo run --release --locked --package local -- soak --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

fuzz: packages ## what anybody may send, tried by libFuzzer; FUZZ_SECONDS= for each target, FUZZ_TARGET= for one alone
	FUZZ_SECONDS=$(FUZZ_SECONDS) FUZZ_TARGET=$(FUZZ_TARGET) deploy/fuzz.sh

check: packages ## format, lints, documentation, dependency arrows, offline queries
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked
	deploy/check-arrows.sh
	deploy/prepare-queries.sh --check

check-api: ## the running servers tried by their OpenAPI documents, with generated requests; EXAMPLES= SEED=
	@deploy/install-packages.sh check-api
	EXAMPLES=$(EXAMPLES) SEED=$(SEED) deploy/check-api.sh

deb: packages ## Debian packages of proxy, main server, worker and certificate authority, in target/debian
	deploy/debian/build.sh

check-deploy: ## systemd units, alert rules and the Compose file, by the tools that are here
	deploy/systemd/check.sh
	deploy/prometheus/check.sh
	deploy/docker/check.sh

sqlx: packages ## write .sqlx anew, from the queries and the migrations as they are now
	deploy/prepare-queries.sh

bench: ## how fast it is, beside nginx and RabbitMQ; the best part of an hour, on a machine that does nothing else
	@deploy/install-packages.sh bench
	cargo run --release --locked --package bench -- $(BENCH)

bench-quick: ## the same in three minutes: shows that everything works, proves nothing
	@deploy/install-packages.sh bench
	cargo build --release --locked --package bench
	cargo run --release --locked --package bench -- --quick --within 120 $(BENCH)

packages:
	@deploy/install-packages.sh
