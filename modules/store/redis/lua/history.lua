-- Reads messages. ARGV: end of the session's keys, user, id, before, after, limit, most
-- bytes. Returns what history does, or false without a session.
local s = sessionOf(ARGV[2], ARGV[3])
if purge(s, ARGV[4]) == 0 then return false end
return history(s, tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]))
