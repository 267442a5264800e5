"""The page: upload a picture, read what can be said of it, and how that was measured."""
