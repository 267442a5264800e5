"""Faces that are rendered here, half of them with parts of another rendered face."""
