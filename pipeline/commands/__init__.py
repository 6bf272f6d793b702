"""What is run beside the stages: it reads what they read, and changes nothing of theirs."""
