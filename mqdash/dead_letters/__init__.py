"""Dead letters: read where they came from and why, group them, replay or discard them with proof (semantics §2)."""
