"""Hypercorn and hcrs side by side: the same app, the same configuration, the same requests, and the answers compared."""
