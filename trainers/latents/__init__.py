"""The parts of a latent search: where it searches and starts, what it keeps of the way, and when it ends."""
