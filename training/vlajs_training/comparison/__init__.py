"""What several training runs say together: curves, thresholds, intervals, figures, report."""
