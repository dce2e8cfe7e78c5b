"""Logs and metrics: a leaf that every layer may use and that knows none of them.

Only ``metrics`` and ``exporter`` import prometheus_client.
"""
