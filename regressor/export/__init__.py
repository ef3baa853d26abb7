"""Files for other programs, and pictures of bodies over images."""
