"""`nextclick up`: a whole system on one machine, started, watched and stopped by one process."""
