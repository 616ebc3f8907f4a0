"""Records only: what the layers hand to each other. Frozen, plain, serialisable; imports msgspec and nothing of mqdash."""
