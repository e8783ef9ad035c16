"""Filters: their language, the items' fields by number, masks that follow the catalogue."""
