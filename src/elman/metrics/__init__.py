"""Figures of merit, one file a family."""
