"""What lies behind `detector.predictor`: cards, backends, released weights, streams of pictures."""
