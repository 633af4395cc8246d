"""Two-step paraphrases T -> T' -> T'' of captions, by an LLM service: resumable, nothing lost."""
