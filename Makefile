# What one does here. `make` alone lists the targets.

CADDY    = $(shell cd xcaddy-build && \
	go list -m -f '{{.Version}}' github.com/caddyserver/caddy/v2)
LINT     = go tool -modfile=$(CURDIR)/.ci/tools/go.mod golangci-lint
TIMEOUT  ?= 30m
PARALLEL ?= 8
FUZZTIME ?= 30s
BENCH    ?= .

# The tags leave out databases that Caddy's own CA could use; xcaddy sets the
# same. Version control stamps fail a build in a checkout of another user's.
export GOFLAGS := $(GOFLAGS) -buildvcs=false -tags=nobadger,nomysql,nopgx

# Static and without local paths, as xcaddy builds: so lint, build and xcaddy
# share one build cache. Tests keep both, for the race detector needs cgo.
build lint fix: export CGO_ENABLED = 0
build lint fix: GOFLAGS += -trimpath

.PHONY: help run test agents deps build xcaddy check-xcaddy lint fix fuzz \
	bench bench-store bench-diff microbench clean

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' \
		$(MAKEFILE_LIST)

run: build ## Build Caddy and serve the quickstart example
	@echo 'The chat page is on http://localhost:8080. Ctrl-C stops the server.'
	@cd caddyfile-examples/quickstart && \
		exec ../../bin/caddy run --config Caddyfile

# Most tests wait for a server rather than the processor.
test: deps ## Install what tests need, and run all (TESTFLAGS, TIMEOUT, PARALLEL)
	go test -race -parallel $(PARALLEL) -timeout $(TIMEOUT) $(TESTFLAGS) ./...

# The programs are large, and see no network but the loopback.
agents: deps ## Install coding agents, and run them on the gateway
	mkdir -p bin/agents
	cp integration/clients/agents/package*.json bin/agents
	cd bin/agents && npm ci --ignore-scripts --no-audit --no-fund
	go mod download
	unshare --net --map-root-user sh -c 'ip link set lo up && \
		CADDY_CHAT_AGENTS=$(CURDIR)/bin/agents/node_modules \
		go test -count=1 -run TestAgents ./integration/clients'

deps:
	@.ci/deps

build: ## Build bin/caddy with plain go
	cd xcaddy-build && go build -ldflags '-s -w' -o ../bin/caddy .

xcaddy: ## Build bin/caddy-xcaddy, the same binary, with the pinned xcaddy
	cd xcaddy-build && go tool xcaddy build $(CADDY) \
		--output ../bin/caddy-xcaddy \
		--with github.com/caddy-chat/caddy-chat@v0.0.0=$(CURDIR)

check-xcaddy: build xcaddy ## Check that both binaries hold the same modules
	@bin/caddy list-modules --versions >bin/caddy.modules
	@bin/caddy-xcaddy list-modules --versions >bin/caddy-xcaddy.modules
	diff bin/caddy.modules bin/caddy-xcaddy.modules

lint: ## Check formatting, go.mod files, go vet and golangci-lint
	@bad=$$(gofmt -s -l .); test -z "$$bad" || \
		{ echo "not formatted: make fix"; echo "$$bad"; exit 1; }
	@for dir in . xcaddy-build integration/clients/oldest; do \
		(cd $$dir && go mod tidy -diff >/dev/null) || \
		{ echo "$$dir/go.mod is not tidy: make fix"; exit 1; }; done
	go vet ./...
	cd xcaddy-build && go vet ./...
	$(LINT) run
	cd xcaddy-build && $(LINT) run --config ../.golangci.yml

fix: ## Format the code and bring both go.mod files up to date
	$(LINT) fmt
	go mod tidy
	cd xcaddy-build && go mod tidy

fuzz: ## Run every fuzz target for 30 s each (FUZZTIME)
	@grep -rEo '^func Fuzz\w+' --include='*_test.go' . | sort | \
	sed -E 's|^(.*)/[^/]*:func |\1 |' | while read -r dir name; do \
		echo "$$dir $$name"; \
		go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) \
			"$$dir" </dev/null || exit 1; \
	done

bench: ## Measure it beside reverse_proxy: docs/performance.md (BENCH_FLAGS)
	go run ./integration/bench -out docs/performance.md $(BENCH_FLAGS)

bench-store: ## Measure stores of up to a million messages (BENCH_FLAGS)
	go run ./integration/bench -parts messages -messages 10,10000,1000000 \
		-out docs/performance.md $(BENCH_FLAGS)

bench-diff: ## Compare revisions: BASE=<rev> [HEAD=<rev>] (BENCH_FLAGS)
	@test -n "$(BASE)" || { echo "say which: make bench-diff BASE=main"; exit 1; }
	go run ./integration/bench -base '$(BASE)' -head '$(HEAD)' $(BENCH_FLAGS)

microbench: ## Run the benchmarks of the packages (BENCH is a pattern)
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./modules/...

clean: ## Remove what was built and what the examples wrote
	rm -rf bin caddyfile-examples/*/data
