"""`nextclick demo`: a whole system on one machine, on a screen."""
