"""People in photographs."""
