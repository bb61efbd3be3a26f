"""PrivacyGAN across sites: private images and discriminators stay, generated images and feedback travel.

What this gives is said in :data:`HONEST`, in the program and on docs/methods/privacy-gan.md.
"""

HONEST = (
    "Private images stay at their site, and so do its discriminator's weights and their gradients. That is data "
    "locality and no formal guarantee: the server sees gradients (or scores) of a network that was trained on the "
    "private images, at images of its own choice. Noise on the feedback (trainer.clip, trainer.noise_multiplier) gives "
    "a site's records (epsilon, delta)-differential privacy against the server; the site's ledger says which epsilon."
)
"""What a site's officer is to read first."""
