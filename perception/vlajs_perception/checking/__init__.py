"""How well a detector and the fits find objects in pictures whose truth is known."""
