"""The full counts of every proof on real brokers: `make proof [PART=name]`.

A part is a scenario of runs; `make test` runs a sample of each. Parts are resumable: each finished run is a line in
`.proof/<part>.ndjson`, a part goes on from there, and its section of `docs/proof.md` says figures, date and commit.
"""
