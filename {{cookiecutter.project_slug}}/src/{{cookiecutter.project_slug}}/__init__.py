"""A real-time app: rooms to chat in, and jobs whose progress comes back to the socket that asked."""
