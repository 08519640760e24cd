"""A server for VLA models over ``vlajs.vla.protocol``: what a model is, and everything around it; no torch."""
