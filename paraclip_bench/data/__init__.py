"""Where examples come from: a hub, a folder, or the embedded demo world."""
