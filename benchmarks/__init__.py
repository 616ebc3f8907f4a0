"""Figures printed beside those of peers in the same run: `make bench`."""
