"""Items become unit vectors: order, batches, deduplication, normalising."""
