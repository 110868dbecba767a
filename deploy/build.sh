#!/bin/sh
# Builds the release: the same sources, toolchain and target give the same bytes, wherever the sources lie.
#   deploy/build.sh [cargo build's arguments]      makes target/release/mcp-exporter and prints its checksum
# Without a checkout name the commit: MCP_EXPORTER_COMMIT=0123456789ab.
set -eu
cd "$(dirname "$0")/.."
here=$(pwd -P)
home=${CARGO_HOME:-$HOME/.cargo}
target=${CARGO_TARGET_DIR:-$here/target}
MCP_EXPORTER_COMMIT=${MCP_EXPORTER_COMMIT:-$(git rev-parse --short=12 HEAD)}
# What names a place in panics and in assertions of C; the later of two that fit counts.
CARGO_ENCODED_RUSTFLAGS=$(printf -- '--remap-path-prefix=%s\037' "$home=/cargo" "$here=/build" "$target=/build/target")
CARGO_ENCODED_RUSTFLAGS=${CARGO_ENCODED_RUSTFLAGS%?}
CFLAGS="${CFLAGS:-} -ffile-prefix-map=$home=/cargo -ffile-prefix-map=$here=/build -ffile-prefix-map=$target=/build/target"
export MCP_EXPORTER_COMMIT CARGO_ENCODED_RUSTFLAGS CFLAGS

cargo build --release --locked --bin mcp-exporter "$@"
program=$target/release/mcp-exporter
for place in "$here" "$home" "$target"; do
    if grep -qF -- "$place" "$program"; then
        echo "deploy/build.sh: $program names $place: others cannot build the same" >&2
        exit 1
    fi
done
sha256sum "$program"
