"""Tells people what happened to runs, so that nobody has to watch: rules, channels, and an outbox between them."""
