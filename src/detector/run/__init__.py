"""What a training run leaves behind: folder, history, curves."""
