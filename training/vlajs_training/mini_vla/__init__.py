"""mini-VLA: a small policy of one picture and one sentence, cloned from the scripted teachers."""
