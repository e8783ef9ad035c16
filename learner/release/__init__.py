"""What a release is: its files, and the models in memory that serve from them."""
