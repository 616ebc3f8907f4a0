"""One client library each, in a process of its own: what a library patches or pollutes is not the next one's cost."""
