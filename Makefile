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

# The program as it is released, for every platform, in dist/. "make test" only checks that it would compile.
cross:
	@for platform in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64; do \
	  out=dist/dispatcher_$${platform%/*}_$${platform#*/}; case $$platform in windows/*) out=$$out.exe;; esac; echo $$out; \
	  CGO_ENABLED=0 GOOS=$${platform%/*} GOARCH=$${platform#*/} $(GO) build -trimpath -buildvcs=true -ldflags="-s -w" -o $$out ./cmd/dispatcher || exit 1; \
	done

# The image, by docker or podman: make image IMAGE=registry.example.org/dispatcher:1.2.3
IMAGE ?= dispatcher
image:
	$$(command -v docker || command -v podman) build -f Containerfile -t $(IMAGE) .

# What is in the program, by the build info in it, as CycloneDX: make build sbom
sbom:
	$(GO) run github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0 bin -json -std -output bin/dispatcher.cdx.json bin/dispatcher

# Installs what the tests need, then runs all of them.
# dispatch runs without -race there: in Go 1.26.8 the runtime itself crashes now and then (SIGSEGV in
# timer.maybeRunChan) when lanes select on timers in a synctest bubble under -race. make race tries.
test: tools lint
	$(GO) test -race -timeout 15m $$($(GO) list ./... | grep -v '/dispatch$$\|/internal/platforms$$')
	$(GO) test -timeout 5m ./dispatch -args -dispatch.budget=20s
	$(GO) test -count=1 -timeout 5m ./internal/platforms # the cache does not see what it looks at
	cd charts/test && $(GO) test -count=1 . # nor that the chart has changed
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
