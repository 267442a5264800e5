"""Heatmaps of what a network looks at, and how far they can be believed."""
