"""Grafana dashboards, Prometheus rules and scrape configuration, made from the declarations of metrics.

`python -m dashboards` writes every file of this folder that is no Python; a test compares them.
"""
