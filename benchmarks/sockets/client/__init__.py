"""The load: one process with hundreds of WebSocket clients, light enough not to be measured.

It offers no compression, masks with zeros (the server unmasks all the same), and checks every
frame's content.
"""
