#!/bin/sh
# Prints what the program consists of, as CycloneDX 1.5: every crate of its dependencies with version, checksum and licence.
#   deploy/sbom.sh [TARGET] >mcp-exporter.cdx.json      for this machine's target, or another
# Needs cargo-cyclonedx (`cargo install cargo-cyclonedx --locked`). The same sources give the same text: its time is that of the
# commit, or SOURCE_DATE_EPOCH.
set -eu
cd "$(dirname "$0")/.."
target=${1:-$(rustc -vV | sed -n 's/^host: //p')}
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct)}"
export SOURCE_DATE_EPOCH

# It writes beside the manifest, and its references have that place in them.
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cp -R Cargo.toml Cargo.lock src "$place"
cargo cyclonedx --quiet --manifest-path "$place/Cargo.toml" --format json --spec-version 1.5 --no-build-deps --target "$target" >&2
sed "s|$place|/mcp-exporter|g" "$place/mcp-exporter.cdx.json"
