# Start with `make demo` and `make test`. Each prepares the machine itself, prints what it installs, and caches outside
# the checkout.

CARGO ?= cargo
.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-21s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: prepare
prepare:
	@dev/prepare

.PHONY: demo
demo: prepare ## Show everything at work on a real API server and Redis (KEEP=1 leaves it running)
	@dev/demo

.PHONY: test
test: prepare ## Run unit, property, drift and integration tests, on real servers
	$(CARGO) test --locked
	dev/tests/cluster-test

.PHONY: image
image: ## Build the image without a container engine; load it into a running node (REGISTRY=host/path: push it)
	@dev/image --load $(if $(REGISTRY),--registry $(REGISTRY) --push)

.PHONY: release
release: ## Make the files of a release, for amd64 and arm64 (REGISTRY=host/path, URL=…; docs/release.md)
	@dev/release $(if $(REGISTRY),--registry $(REGISTRY)) $(if $(URL),--url $(URL))

.PHONY: release-test
release-test: prepare ## Test a release: signatures, krew, a registry, arm64; build it twice (AGAIN=no: once)
	@dev/tests/release-test

.PHONY: e2e
e2e: prepare ## Install the chart with real pods on a cluster of one node (root; KEEP=1 leaves it running)
	@dev/e2e

.PHONY: test-node
test-node: ## Test that a cluster with a node leaves nothing behind (root)
	dev/tests/node-test

.PHONY: test-upgrade
test-upgrade: prepare ## Replicas of this release and of an older one beside each other (builds the older one once)
	dev/tests/upgrade-test

.PHONY: model
model: ## Check every state of the protocol's model with two faults (a release build, then some minutes and 3 GB)
	MODEL_FAULTS=2 $(CARGO) test --locked --release --test model -- --nocapture --test-threads=1

.PHONY: chaos
chaos: prepare ## Run the fault campaign on real servers and processes (RUNS=3 for three runs of about ten minutes)
	@dev/chaos $(or $(RUNS),1) $(ROWS)

.PHONY: chart-test
chart-test: prepare ## Test the Helm chart: lint, schemas, rendering, and rights on a real API server (builds Helm once)
	@dev/tests/chart-test

.PHONY: bench
bench: prepare ## Measure the budgets (after a release build of a few minutes)
	$(CARGO) bench --locked --bench classify --bench publish --bench report --bench recency --bench plan --bench million

.PHONY: scale
scale: prepare ## Measure a large fleet, also with registration (WORKERS=1000, ROWS=1000, OBJECTS=10000; ten minutes)
	@dev/scale

.PHONY: takeover
takeover: prepare ## Measure killed and stopped leaders with many objects (OBJECTS=10000, ROUNDS=10; a quarter of an hour)
	@dev/takeover $(or $(OBJECTS),10000)

.PHONY: side-by-side
side-by-side: prepare ## Measure operators with a fleet each beside one with all objects (OBJECTS=20000, OPERATORS=4)
	@dev/side-by-side $(or $(OBJECTS),20000) $(or $(OPERATORS),4)

.PHONY: soak
soak: prepare ## Run with 1 % change per cycle; check memory, open files and cycles (MINUTES=30, OBJECTS=10000, PLAN=usage)
	@dev/soak $(or $(MINUTES),30)

.PHONY: lint
lint: ## Check formatting, clippy and the crate docs, warnings denied
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items

.PHONY: test-contextforge
test-contextforge: ## Test the plugin for ContextForge: ruff, mypy, pytest (RELEASE=oldest; E2E=1: also at work)
	@integrations/contextforge/dev/test

.PHONY: gitops-test
gitops-test: prepare ## Test the rules of Argo CD, Flux and kstatus in every state, and the manifests of examples/gitops
	@dev/tests/gitops-test

.PHONY: alerts-test
alerts-test: prepare ## Test alerts and dashboard in a real Prometheus: every alert fires, every query returns data
	@dev/tests/alerts-test

.PHONY: e2e-contextforge
e2e-contextforge: prepare ## Test what the MCP servers of ContextForge receive (RELEASE=oldest; about ten minutes)
	@integrations/contextforge/dev/e2e

.PHONY: ten-minutes
ten-minutes: prepare ## From a running ContextForge to fewer polls and back, on real pods (root; INJECTION=, DATABASE=)
	@dev/ten-minutes

.PHONY: contextforge-releases
contextforge-releases: ## Say whether there are newer releases of ContextForge (TRY=1: test the plugin on the newest)
	@integrations/contextforge/dev/releases

.PHONY: polls-figure
polls-figure: prepare ## Measure all polling with and without the operator (docs/contextforge-polls.md; two hours)
	@integrations/contextforge/dev/polls-figure

.PHONY: plan-figure
plan-figure: prepare ## Measure a refresh plan beside tiers and the release alone (RELEASE=oldest; two hours)
	@integrations/contextforge/dev/plan-figure --minutes $(or $(MINUTES),90)

.PHONY: registration-e2e
registration-e2e: prepare ## Test registration on the real ContextForge (RELEASE=oldest; ONLY=fill40,mirror; an hour)
	@integrations/contextforge/dev/registration-e2e $(if $(ONLY),--only $(ONLY))

.PHONY: fuzz
fuzz: ## Run ten million generated inputs through the report reader (RUNS=…; needs a nightly compiler)
	@cargo fuzz --version >/dev/null 2>&1 || { echo "installing cargo-fuzz (a minute, once)"; $(CARGO) install --locked --quiet cargo-fuzz; }
	@mkdir -p fuzz/target/found
	$(CARGO) +nightly fuzz run --fuzz-dir fuzz -s none report fuzz/target/found fuzz/corpus/report -- -runs=$(or $(RUNS),10000000) -max_len=2048 -print_final_stats=1

.PHONY: deny
deny: ## Check licences, sources and duplicate versions of the dependencies (installs cargo-deny if it is missing)
	@command -v cargo-deny >/dev/null || { echo "installing cargo-deny (a few minutes, once)"; $(CARGO) install --locked --quiet cargo-deny; }
	$(CARGO) deny check licenses bans sources

.PHONY: advisories
advisories: ## Check the dependencies for known vulnerabilities (fetches the RustSec database; installs cargo-deny if missing)
	@command -v cargo-deny >/dev/null || { echo "installing cargo-deny (a few minutes, once)"; $(CARGO) install --locked --quiet cargo-deny; }
	$(CARGO) deny check advisories

.PHONY: generate
generate: ## Rewrite the generated files (crds/, docs/settings.md, docs/api.md, the plugin in the chart, …)
	BLESS=1 $(CARGO) test --locked --test it -- drift gitops::states::the_committed gitops::fleet_states::the_committed
	BLESS=1 $(CARGO) test --locked --test chart -- --include-ignored the_committed_patch

.PHONY: clean
clean: ## Stop kept demos and all development clusters of this user, and remove the target folder
	dev/demo stop
	dev/cluster down --all
	$(CARGO) clean
