"""What predictions are worth: metrics and bootstrap intervals."""
