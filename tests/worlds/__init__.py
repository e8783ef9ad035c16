"""Small worlds that tests share: items, clicks, releases nobody trained, whole systems."""
