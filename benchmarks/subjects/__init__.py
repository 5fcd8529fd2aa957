"""What runs in a child process: the subjects behind one interface, and the work that they do."""
