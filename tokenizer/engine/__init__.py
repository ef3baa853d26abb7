"""What both stages train with: options, run folders, checkpoints, schedules. Importing this loads no torch."""
