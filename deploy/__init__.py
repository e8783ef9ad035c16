"""How Nextclick is put on machines: images, compose, chart, units, what checks them. Not installed."""
