"""What the runner asks of a server: it comes in the environment, as the server is a new process."""

import os

KIND = os.environ.get("BENCH_KIND", "memory")  # memory, pubsub, queue; "-" for no layer
REDIS = os.environ.get("BENCH_REDIS", "")  # redis://host:port
JSON = os.environ.get("BENCH_JSON") == "1"  # the JSON consumer instead of the text one
KEYS = [key for key in os.environ.get("BENCH_KEYS", "").split(",") if key]
