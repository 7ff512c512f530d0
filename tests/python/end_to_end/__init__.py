"""Tests of the installed command ``hcrs`` with real clients: sockets, TLS, processes and apps are all real."""
