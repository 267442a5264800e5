"""Fakes made of real faces alone: a picture, blended with a changed copy of itself."""
