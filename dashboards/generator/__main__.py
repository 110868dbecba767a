"""Writes the dashboards: `python3 dashboards/generator`. With `--check` writes nothing and fails where a file differs."""

import json
import pathlib
import sys

sys.dont_write_bytecode = True

import exporter
import fleet
import server

DIRECTORY = pathlib.Path(__file__).resolve().parent.parent


def main():
    stale = []
    for name, module in (("fleet", fleet), ("server", server), ("exporter", exporter)):
        file = DIRECTORY / f"{name}.json"
        text = json.dumps(module.build(), indent=2, ensure_ascii=False) + "\n"
        if "--check" not in sys.argv[1:]:
            file.write_text(text, encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != text:
            stale.append(file.name)
    if stale:
        sys.exit(f"not what the generator writes: {', '.join(stale)}; run `python3 dashboards/generator`")


main()
