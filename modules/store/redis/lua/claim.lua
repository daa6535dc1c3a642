-- Claims a session for a turn. ARGV: end of the session's keys, turn, node, lease.
-- Returns what claim does.
return claim(ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]))
