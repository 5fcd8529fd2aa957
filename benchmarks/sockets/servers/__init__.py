"""One ASGI application per subject, all with the same two paths.

- ``/room/NAME`` joins the group NAME, then sends one frame, so that the client knows it has joined;
  each text it receives goes to all members of the group, the sender included.
- ``/echo`` touches no layer: each text goes back to its sender.

python-socketio has paths and frames of its own; its application says how it does the same.
"""
