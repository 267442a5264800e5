"""What a set of images gives away before any network has seen it."""
