"""Pure drawing: frozen views in, rows of styled cells out. No app, no clock, no I/O."""
