"""What both trainings share: checkpoints, run folders, schedule, precision."""
