"""The speaker server: HTTP API, live verification, web page; nothing below imports it."""
