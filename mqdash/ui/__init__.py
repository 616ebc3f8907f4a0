"""The full-screen app: the only package that imports Textual and Rich."""

import os

# Textual reads its paint rate once, at import: 240 Hz takes the median way of a key to the screen from 14 to 3 ms. The
# pictures themselves move at the rate of the app's own tick.
os.environ.setdefault("TEXTUAL_FPS", "240")
