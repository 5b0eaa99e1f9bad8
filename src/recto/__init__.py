"""Recto."""
