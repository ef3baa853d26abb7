"""Both stages in order, and a page that shows the result. Holds no learning code."""
