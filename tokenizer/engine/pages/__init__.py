"""HTML pages, charts and pictures in them."""
