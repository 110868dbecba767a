#!/usr/bin/env bash
# Fuzzes: run.sh SECONDS [TARGET ...], all targets one after the other where none is named. What is found beyond the kept
# corpora stays in target/found/TARGET; `run.sh keep [TARGET ...]` keeps the two hundred short ones of both that reach most.
#
# Needs cargo-fuzz (`cargo install cargo-fuzz --locked`) and a nightly toolchain. Where there is none the stable one is told to
# behave like one: the sanitizers are in it.
set -euo pipefail
cd "$(dirname "$0")"

[ $# -gt 0 ] || { sed -n '2,6s/^# //p' "$0"; exit 2; }
what=$1 && shift
[ $# -gt 0 ] || set -- answer configuration event_stream health lists passthrough web
cargo fuzz --version >/dev/null 2>&1 || { echo "run.sh: cargo-fuzz is missing: cargo install cargo-fuzz --locked" >&2; exit 1; }
if rustup toolchain list 2>/dev/null | grep -q '^nightly'; then
    export RUSTUP_TOOLCHAIN=nightly
else
    export RUSTC_BOOTSTRAP=1
fi
# Not built again for each commit.
export MCP_EXPORTER_COMMIT=fuzz
# The dependencies that are shipped, not newer ones.
cp ../../Cargo.lock Cargo.lock

# Longer inputs find nothing that shorter ones do not, but slower. Whatever takes ten seconds hangs.
limits=(-max_len=4096 -timeout=10 -rss_limit_mb=2048)
for target; do
    found=target/found/$target
    mkdir -p "$found"
    if [ "$what" = keep ]; then
        kept=$(mktemp -d target/kept.XXXXXX)
        # The fewest that reach every branch, those that reach most of them first; how often one is taken does not count.
        cargo fuzz run --fuzz-dir . "$target" "$kept" "corpus/$target" "$found" -- -set_cover_merge=1 -use_counters=0 \
            -timeout=10 -rss_limit_mb=2048 -max_len=1024
        (cd "$kept" && ls -tr | tail -n +201 | xargs -r rm --)
        rm -rf "corpus/$target" && mv "$kept" "corpus/$target" && chmod 755 "corpus/$target"
    else
        cargo fuzz run --fuzz-dir . "$target" "$found" "corpus/$target" -- -max_total_time="$what" -print_final_stats=1 \
            -dict="words/$target.dict" "${limits[@]}"
    fi
done
