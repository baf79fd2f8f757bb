"""Rules that hold for the whole app, each in one place."""
