"""What a person may ask for: actions with their rights and their audit line, and the monitors that watch a broker."""
