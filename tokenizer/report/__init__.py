"""One page about one tokenizer: how it learned, what it loses, what its tokens mean."""
