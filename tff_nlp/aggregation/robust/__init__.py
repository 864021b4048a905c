"""Aggregators that withstand clients which send anything they like."""
