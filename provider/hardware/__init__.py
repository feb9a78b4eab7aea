"""What this machine has. Rule: it is asked at run time, and what can't be found out is said, never guessed."""
