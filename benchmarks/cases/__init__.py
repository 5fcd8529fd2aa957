"""Cases of the layers alone: no sockets, no server. Each module here has a list CASES."""
