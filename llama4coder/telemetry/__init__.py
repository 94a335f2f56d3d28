"""Spans and histograms of requests for an OpenTelemetry collector; nothing of it is loaded unless one is configured."""
