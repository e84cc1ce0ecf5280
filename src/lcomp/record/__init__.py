"""What a run leaves, and reading what somebody else may have left: no other room lies below this one."""
