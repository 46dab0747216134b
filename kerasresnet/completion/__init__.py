"""What makes a shell complete commands and flags."""
