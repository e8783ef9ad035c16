"""What operators do: look, repair, announce releases, measure."""
