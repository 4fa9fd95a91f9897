# The commands of this project; `.ci/run` calls check and test.
# Cargo does the building; this file only puts its calls together.

CARGO ?= cargo
# Large enough for the programs under test, small enough for a machine with two processors.
TEST_THREADS ?= 2

# The binary under test is the one that was built with the tests. Cargo would build it, and most of what it needs, once
# more without them, since they ask for more of some libraries.
BINARY := $(abspath $(or $(CARGO_TARGET_DIR),target))/tested/banyan

# What actors tell of themselves, where somebody asks for it.
OBSERVED := --features banyan-actors/tracing,banyan-actors/metrics

# Tests run in the background, or from a terminal that goes away, ignore these; programs under test inherit that.
SIGNALS := env --default-signal=HUP,INT,QUIT

.PHONY: all build demo test check deny soak sample hostile bench needs
all: build

build:
	$(CARGO) build --release
	$(CARGO) build --release -p banyan-tests --examples

# The main job on three local nodes, beside a native run. INPUT=FILE takes a file of yours.
demo: build
	target/release/banyan demo $(if $(INPUT),--input '$(INPUT)')

# Everything: unit tests, simulator, tidy checks, and the real programs on one, two and three nodes. NAME=litmus runs
# only the tests whose path has that word.
TESTED := --workspace --profile tested $(OBSERVED)
test: needs
	$(CARGO) test $(TESTED) --no-run
	@test -z '$(NAME)' || $(CARGO) test --quiet $(TESTED) -- --list $(NAME) 2>/dev/null | grep -q ': test$$' || \
		{ echo "no test has the word '$(NAME)' in its path" >&2; exit 1; }
	$(SIGNALS) BANYAN=$(BINARY) $(CARGO) test $(TESTED) -- --test-threads=$(TEST_THREADS) $(NAME)

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets $(OBSERVED) -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps $(OBSERVED)
	$(CARGO) test -p banyan-tests --test tidy

# Whether the licences and sources of all libraries are those of deny.toml. Needs `cargo install cargo-deny`.
deny:
	$(CARGO) deny check licenses bans sources

# Each real program twenty times on each node count, for twenty minutes at most.
soak: needs build
	$(SIGNALS) target/release/banyan-soak

# The whole sample of isolated libraries, and its table in docs/reference/isolated-libraries.md. Every test run tries a
# third of it.
sample: needs
	$(CARGO) test --release -p banyan-calls --test sample -- --ignored

# What hostile modules and nouns cost: the figures of docs/reference/hostile-modules.md and hostile-nouns.md.
hostile:
	$(CARGO) test --release -p banyan-actors --test wasm worst -- --nocapture --test-threads=1
	$(CARGO) test --release -p banyan-arena --test hostile_nouns -- --nocapture --test-threads=1

# Every promised number, beside what others would use: their libraries make this build a long one. A missed bar is a status
# of 1, and no reason to leave out the rest.
bench: needs
	$(CARGO) build --release -p banyan-calls
	$(CARGO) build --release -p banyan-cli --features rivals
	-target/release/banyan bench

# The compilers and programs that the tests run, installed only when one is missing.
needs:
	@tests/needs.sh
