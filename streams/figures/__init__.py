"""What processes measure of themselves: said once a second on the topic `figures`, and to Prometheus."""
