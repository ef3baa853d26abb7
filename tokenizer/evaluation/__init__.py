"""What a tokenizer keeps: reconstruction, token stability, locality, completion."""
