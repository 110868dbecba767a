#!/usr/bin/env bash
# Installs what the tests need (the first time), then runs every check of the project. Arguments go to `cargo test`.
#
# The tests run real MCP servers and a real Prometheus. A prerequisite that cannot be had fails the run: nothing is
# skipped. What is installed beside Debian's own packages goes to target/test-env.
set -euo pipefail
cd "$(dirname "$0")/.."

environment="${CARGO_TARGET_DIR:-$PWD/target}/test-env"
export MCP_EXPORTER_TEST_PYTHON="$environment/python/bin/python"
export MCP_EXPORTER_TEST_PYTHON_FASTMCP2="$environment/python-fastmcp2/bin/python"
export MCP_EXPORTER_TEST_NODE_MODULES="$environment/npm/node_modules"
export MCP_EXPORTER_TEST_SCHEMATHESIS="$environment/python-schemathesis/bin/schemathesis"
export MCP_EXPORTER_TEST_CARGO_TOOLS="$environment/cargo/bin"
# For the tests that are not written in Rust.
export MCP_EXPORTER_BIN="${CARGO_TARGET_DIR:-$PWD/target}/debug/mcp-exporter" MCP_EXPORTER="${CARGO_TARGET_DIR:-$PWD/target}/debug/mcp-exporter"
# Each test that saw a real server right, dead and right again adds a line.
export MCP_EXPORTER_TEST_LEDGER="$environment/exercised"

# Tests of the daemon mostly wait for it.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-4}"

say() { printf '\n== %s\n' "$*"; }
die() { printf 'tests/run.sh: %s\n' "$*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else die "cannot install without root or sudo; run as root: $*"
    fi
}

# Installs Debian's packages for the commands that are missing.
debian_packages() {
    local missing=()
    { command -v prometheus && command -v promtool; } >/dev/null || missing+=(prometheus)
    { command -v amtool && command -v prometheus-alertmanager; } >/dev/null || missing+=(prometheus-alertmanager)
    { command -v systemd-analyze && command -v systemd-socket-activate; } >/dev/null || missing+=(systemd)
    # With HTTP/2, as Debian's has it.
    command -v curl >/dev/null || missing+=(curl)
    # kubectl 1.27 or later; Debian 12's own is older, and the tests of deploy/ say so.
    command -v kubectl >/dev/null || missing+=(kubernetes-client)
    command -v tinyproxy >/dev/null || missing+=(tinyproxy)
    # Names that lead where a test wants, for one process and without root.
    compgen -G '/usr/lib/*/libnss_wrapper.so' >/dev/null || missing+=(libnss-wrapper)
    command -v cc >/dev/null || missing+=(build-essential)
    command -v chromium >/dev/null || missing+=(chromium)
    { command -v node && command -v npm; } >/dev/null || missing+=(nodejs npm)
    # The module exists without its package, and then fails for want of this one.
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3 python3-venv)
    [ ${#missing[@]} -eq 0 ] && return
    command -v apt-get >/dev/null || die "missing, and there is no apt-get to install them: ${missing[*]}"
    say "installing ${missing[*]}"
    as_root apt-get update -q
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
    # The packages start services; the tests start their own, on free ports.
    local package
    for package in "${missing[@]}"; do
        if [[ $package == prometheus* || $package == tinyproxy ]] && [ -d /run/systemd/system ]; then
            as_root systemctl disable --now "$package"
        fi
    done
}

# fresh DIRECTORY FILE...: whether the directory was made from these very files.
fresh() {
    local directory=$1 && shift
    [ "$(cat "$directory/.made-from" 2>/dev/null)" = "$(cat "$@" | sha256sum)" ]
}
made() {
    local directory=$1 && shift
    cat "$@" | sha256sum >"$directory/.made-from"
}

python_environment() {
    local directory="$environment/$1" requirements=$2
    fresh "$directory" "$requirements" && "$directory/bin/python" -c '' && return
    say "installing $requirements"
    rm -rf "$directory"
    python3 -m venv "$directory"
    "$directory/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$requirements"
    made "$directory" "$requirements"
}

npm_environment() {
    local directory="$environment/npm"
    fresh "$directory" tests/package.json tests/package-lock.json && return
    say "installing tests/package.json"
    rm -rf "$directory"
    mkdir -p "$directory"
    cp tests/package.json tests/package-lock.json "$directory"
    npm ci --prefix "$directory" --ignore-scripts --no-audit --no-fund --loglevel=error
    made "$directory" tests/package.json tests/package-lock.json
}

rust_components() {
    command -v cargo >/dev/null || die "no Rust toolchain: see https://rustup.rs"
    cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
    cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
}

# cargo_tool NAME VERSION, unoptimized: each runs for a second, and compiles in one minute instead of three.
cargo_tool() {
    cargo install --root "$environment/cargo" --list | grep -qx "$1 v$2:" && return
    say "installing $1 $2"
    CARGO_TARGET_DIR="$environment/cargo/target" \
        cargo install --quiet --locked --debug --root "$environment/cargo" --version "$2" "$1"
    rm -rf "$environment/cargo/target"
}

mkdir -p "$environment"
rust_components
debian_packages
python_environment python tests/requirements.txt
python_environment python-fastmcp2 tests/requirements-fastmcp2.txt
python_environment python-schemathesis tests/requirements-schemathesis.txt
npm_environment
cargo_tool cargo-deny 0.20.2
cargo_tool cargo-cyclonedx 0.5.9

say "format"
cargo fmt --check
say "lints"
cargo clippy --locked --all-targets --quiet -- --deny warnings
say "documentation"
# For those who work on it: private items are what they read.
RUSTDOCFLAGS="--deny warnings" cargo doc --locked --no-deps --lib --document-private-items --quiet

say "dependencies"
# Without advisories: their database comes from a host of its own, which not every machine can reach.
cargo fetch --locked --quiet
"$environment/cargo/bin/cargo-deny" --offline --locked --log-level error check --hide-inclusion-graph licenses bans sources

say "alerts"
alerts/tests/run.sh
cargo build --locked --quiet
say "dashboards"
dashboards/tests/run.sh
say "API"
tests/api/run.sh
say "status page"
tests/browser/run.sh
say "deployment"
deploy/tests/run.sh

say "tests"
: >"$MCP_EXPORTER_TEST_LEDGER"
output="$environment/output"
cargo test --locked "$@" 2>&1 | tee "$output"

# One closing line over all test programs, in the words of each.
sum() { sed -n "s/^test result: .* \([0-9]*\) $1;.*/\1/p" "$output" | awk '{ n += $1 } END { print n + 0 }'; }
servers=$(sort -u "$MCP_EXPORTER_TEST_LEDGER" | wc -l)
transports=$(cut -f1 "$MCP_EXPORTER_TEST_LEDGER" | sort -u | wc -l)
say "done"
[ "$servers" -eq 0 ] || sort -u "$MCP_EXPORTER_TEST_LEDGER"
echo "$servers real MCP servers exercised over $transports transports"
[ "$(sum ignored)" -eq 0 ] || die "$(sum ignored) tests were ignored"
[ "$#" -gt 0 ] || [ "$servers" -gt 0 ] || die "no real server was exercised"
echo "$(sum passed) passed, $(sum failed) failed"
