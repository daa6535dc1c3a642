-- Returns whether the node of a turn is gone. ARGV: end of the session's keys.
return isLost(ARGV[2]) and 1 or 0
