-- Claims a session for a turn, unless there is a cached value. ARGV: end of the session's
-- keys, turn, node, lease, end of the value's key, whether the turn is claimed over a
-- value (1), and number, kind and data of the first event.
-- Returns what claim does, or 2 if only the value is there; then the value.
local ending, value = ARGV[2], cachedAt(ARGV[6])
if value and ARGV[7] ~= '1' then return {2, value} end
local lease = tonumber(ARGV[5])
local code = claim(ending, ARGV[3], ARGV[4], lease)
if code == 1 then publish(ending, ARGV[3], lease, -1, 8, 10) end
return {code, value}
