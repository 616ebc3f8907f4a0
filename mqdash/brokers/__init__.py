"""The port to brokers (`base`), the adapters behind it, and the wrappers every adapter shares."""
