-- Asks the running turn to stop. ARGV: end of the session's keys, channel of nodes, the
-- turn, or nothing for whichever runs. Returns whether it was running.
local t = read(ARGV[2])
if not t or not t.running or t.gone or t.lost or ARGV[4] ~= '' and ARGV[4] ~= t.id then return 0 end
redis.call('HSET', turnOf(ARGV[2]), 'cancelled', 1)
redis.call('PUBLISH', ARGV[3] .. t.node, t.id)
return 1
