"""A local orchestrator that speaks the upstream's protocol, so that everything runs with no account.

It plays a machine of its own: nothing here imports the product, nothing of the product imports this, and the
two meet over HTTP and WebSockets only. docs/sandbox.md says how a definition scripts what happens.
"""
