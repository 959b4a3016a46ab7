"""What a person who examines reads: verification of a picture, health of an installation."""
