"""PrivacyGAN across sites: private images and discriminators stay, generated images and feedback travel.

What this gives is said in :data:`HONEST`, in the program and on docs/methods/privacy-gan.md.
"""

PLACES = "Private images stay at their site, and so do its discriminator's weights and their gradients. "
HONEST = PLACES + (
    "That is data locality and no formal guarantee: the server sees gradients (or scores) of a network that was "
    "trained on the private images, at images of its own choice. Noise on the feedback (trainer.clip, "
    "trainer.noise_multiplier), or on the discriminator's gradients (trainer.protect discriminator), gives a site's "
    "records (epsilon, delta)-differential privacy against the server; the site's ledger says which epsilon."
)
"""What a site's officer is to read first."""


def private_line(epsilon: float, delta: float) -> str:
    """Return what is read first at a site whose discriminator learns by DP-SGD."""
    return PLACES + (
        "The discriminator learns from them by noisy sums of clipped gradients alone (DP-SGD), so that everything that "
        f"leaves this site is differentially private, epsilon {epsilon:g} at delta {delta:g} at most, for one image "
        "added or removed; several images of one person are not covered together. The site's ledger, privacy.json, "
        "counts what was spent. Files of the site's own folder are not covered."
    )
