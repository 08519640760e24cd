"""Training of vlajs policies in ManiSkill."""
