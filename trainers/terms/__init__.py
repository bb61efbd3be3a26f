"""Terms that a GAN's losses can be given: what generated images shall have beside looking real."""
