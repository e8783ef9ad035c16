"""A training, from recorded clicks to a release."""
