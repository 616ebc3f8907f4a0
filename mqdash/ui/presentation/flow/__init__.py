"""The Flow picture: who publishes, where to, where it waits, who takes it; messages are dots on the edges."""
