"""The catalogue of encoders, and how each is loaded exactly as its authors meant."""
