"""Teachers: whatever gives coarse hints to a student in training. ``factory.make_teacher`` makes them."""
