"""Cases over real sockets: a server of each subject in its own process, clients in another."""
