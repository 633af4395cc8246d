"""Who paraphrases: an LLM behind an OpenAI-compatible address, or the demo world's grammar."""
