"""The models that are trained: student, teacher, ranker, and what goes with them. Needs torch."""
