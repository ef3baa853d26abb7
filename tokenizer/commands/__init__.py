"""The program pose-tokenizer, one file a family of commands."""
