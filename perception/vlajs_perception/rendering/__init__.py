"""Labelled pictures of the tasks' objects, rendered by MuJoCo without a screen, under domain randomisation."""
