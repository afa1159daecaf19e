# DeeToo needs nothing but Go: `make run` runs it, `make test` tests it.
GO ?= go

.PHONY: run demo build test race lint fuzz bench chaos sim tools

# The dispatcher on the embedded store in ./data, for one machine.
run:
	DEETOO_ALLOW_PRIVATE_TARGETS=true $(GO) run ./cmd/dispatcher serve --print-token

# The dispatcher with types, handlers that fail now and then, and traffic; forgotten when it ends.
demo:
	$(GO) run ./cmd/dispatcher demo

build:
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/dispatcher ./cmd/dispatcher

# Installs what the tests need, then runs all of them.
# dispatch runs without -race there: in Go 1.26.8 the runtime itself crashes now and then (SIGSEGV in
# timer.maybeRunChan) when lanes select on timers in a synctest bubble under -race. make race tries.
test: tools lint
	$(GO) test -race -timeout 15m $$($(GO) list ./... | grep -v '/dispatch$$')
	$(GO) test -timeout 5m ./dispatch -args -dispatch.budget=20s
	cd chaos && $(GO) vet -mod=mod ./... && $(GO) test -mod=mod ./...

race:
	$(GO) test -race -timeout 5m ./dispatch

# Simulations with a thousand seeds; make test tries as many as it can in 20 s. SIM="-dispatch.seed=7" tries one.
SIM ?= -dispatch.budget=1h
sim:
	$(GO) test -count=1 -v -timeout 1h -run TestRandomly ./dispatch $(SIM)

lint:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$unformatted" || { echo "not gofmt-ed: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

# Redis, Chromium and nginx are tested against for real; the examples in Python and Node are run.
tools:
	@./.ci/install redis-server:redis-server chromium:chromium python3:python3 node:nodejs nginx:nginx-light

# Each fuzz target for a while: make fuzz FUZZTIME=30s
FUZZTIME ?= 10s
fuzz:
	@for pkg in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
	  done; done

# DeeToo's speed beside its peers: make bench BENCH=-quick, or BENCH="-measures drain -rounds 9".
BENCH ?=
bench:
	@./.ci/install redis-server:redis-server
	cd bench && $(GO) run . $(BENCH)

# Does DeeToo keep its promises while everything fails? make chaos CHAOS="-scenario always -duration 1h", or CHAOS="-seed 7".
# It follows the main module's dependencies by itself (-mod=mod).
CHAOS ?=
chaos:
	@./.ci/install redis-server:redis-server
	cd chaos && $(GO) run -mod=mod . $(CHAOS)
