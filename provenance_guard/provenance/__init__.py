"""What is known about a picture: its record, the infotext it came with, the model files behind it, its sidecar."""
