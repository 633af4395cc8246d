"""ParaCLIP's fine-tuning: a frozen image tower, a text tower that learns paraphrases."""
