"""Evaluation sessions: trial design, the journal, judging, statistics and the report. No rclpy in here."""
