"""From camera pixels to object poses."""
