"""Networks in formats of other programs, and the check that they answer as before."""
