"""Networks and their parts: encoder, heads, queues, momentum teachers. No config, no Lightning, no files."""
