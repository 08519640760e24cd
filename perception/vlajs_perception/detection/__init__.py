"""What a detector says of a picture, how it is trained, and how it runs."""
