"""Runs side by side: what they were made with, how they do, and whether it is more than luck."""
