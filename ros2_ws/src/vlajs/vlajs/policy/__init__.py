"""Policy bundles: the contract a policy was trained under, its weights, and inference without torch."""
