"""Components of our own for the browser."""
