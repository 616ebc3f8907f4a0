"""The lab: producers, workers and scenarios that put a broker to work, and the ledger that proves what became of it."""
