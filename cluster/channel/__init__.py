"""Persistent ZMQ channels: what a Ray actor call would be too slow for."""
