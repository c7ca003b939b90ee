# The two commands of this project are `make demo` and `make test`. Each does its own set-up, says what it installs,
# and caches outside of the checkout.

CARGO ?= cargo
.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: prepare
prepare:
	@dev/prepare

.PHONY: demo
demo: prepare ## Show the whole line at work on a real API server and Redis (KEEP=1 leaves it running)
	@dev/demo

.PHONY: test
test: prepare ## Unit, property, drift and integration tests, on real servers
	$(CARGO) test --locked
	dev/tests/cluster-test

.PHONY: image
image: ## The operator's image and its bill of materials, without a container engine; into `dev/cluster up --node` if that runs
	@dev/image --load

.PHONY: e2e
e2e: prepare ## Install it as people do, with real pods on a cluster of one node (root; KEEP=1 leaves it running)
	@dev/e2e

.PHONY: test-node
test-node: ## Tests that a cluster with a node leaves nothing behind (root)
	dev/tests/node-test

.PHONY: test-upgrade
test-upgrade: prepare ## Replicas of this release and of an older one beside each other (builds the older one once)
	dev/tests/upgrade-test

.PHONY: model
model: ## The model of the protocol, every state with two faults (a release build, then some minutes and 3 GB)
	MODEL_FAULTS=2 $(CARGO) test --locked --release --test model -- --nocapture --test-threads=1

.PHONY: chaos
chaos: prepare ## The fault campaign on real servers and processes (RUNS=3 for three runs; some ten minutes each)
	@dev/chaos $(or $(RUNS),1) $(ROWS)

.PHONY: chart-test
chart-test: prepare ## The Helm chart: lint, schemas, what it renders, and its rights on a real API server (builds Helm once)
	@dev/tests/chart-test

.PHONY: bench
bench: prepare ## The budgets, measured (a release build of a few minutes first)
	$(CARGO) bench --locked --bench classify --bench publish --bench report --bench recency

.PHONY: scale
scale: prepare ## 1,000 workers and 10,000 objects: a table, and what must hold (a release build, then some five minutes)
	@dev/scale

.PHONY: soak
soak: prepare ## 10,000 objects, 1 % change a cycle, for long: memory, open files, cycles (MINUTES=30)
	@dev/soak $(or $(MINUTES),30)

.PHONY: lint
lint: ## Formatting, clippy and the crate docs, warnings denied
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items

.PHONY: test-contextforge
test-contextforge: ## The usage adapter of ContextForge: ruff, mypy, pytest (E2E=1: and in the real release)
	@integrations/contextforge/dev/test

.PHONY: gitops-test
gitops-test: prepare ## Argo CD's, Flux's and kstatus' rules in every state, and the manifests of examples/gitops
	@dev/tests/gitops-test

.PHONY: alerts-test
alerts-test: prepare ## Every alert fires when its fault is made, in a real Prometheus; every query of the dashboard gives data
	@dev/tests/alerts-test

.PHONY: e2e-contextforge
e2e-contextforge: prepare ## The operator on the released ContextForge: what its MCP servers really receive (some ten minutes)
	@integrations/contextforge/dev/e2e

.PHONY: polls-figure
polls-figure: prepare ## Tool refreshes with the operator and without it, into docs/contextforge-polls.md (MINUTES=12)
	@integrations/contextforge/dev/polls-figure $(or $(MINUTES),12)

.PHONY: fuzz
fuzz: ## Ten million generated inputs through the report reader (RUNS=…; needs a nightly compiler, a build of minutes)
	@cargo fuzz --version >/dev/null 2>&1 || { echo "installing cargo-fuzz (a minute, once)"; $(CARGO) install --locked --quiet cargo-fuzz; }
	@mkdir -p fuzz/target/found
	$(CARGO) +nightly fuzz run --fuzz-dir fuzz -s none report fuzz/target/found fuzz/corpus/report -- -runs=$(or $(RUNS),10000000) -max_len=2048 -print_final_stats=1

.PHONY: deny
deny: ## Licences, sources and duplicate versions of the dependencies (installs cargo-deny if it is missing)
	@command -v cargo-deny >/dev/null || { echo "installing cargo-deny (a few minutes, once)"; $(CARGO) install --locked --quiet cargo-deny; }
	$(CARGO) deny check licenses bans sources

.PHONY: generate
generate: ## Rewrite the generated files (crds/, docs/settings.md, docs/api.md, tests/gitops/states/)
	BLESS=1 $(CARGO) test --locked --test it -- drift gitops::states::the_committed

.PHONY: clean
clean: ## Stop kept demos and the development clusters of this user and remove the target folder
	dev/demo stop
	dev/cluster down --all
	$(CARGO) clean
