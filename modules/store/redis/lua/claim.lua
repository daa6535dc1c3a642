-- Makes a turn the running one of its session. ARGV: end of the session's keys, turn,
-- node, lease. Returns 1, 2 if it is so already, or 0 if another one runs.
local ending, id, lease = ARGV[2], ARGV[3], tonumber(ARGV[5])
local key, t = turnOf(ending), read(ending)
local code = 1
if t and t.running and not t.lost then
  if t.id ~= id or t.gone then return 0 end
  code = 2
else
  redis.call('DEL', key)
  redis.call('HSET', key, 'id', id, 'running', 1)
end
redis.call('HSET', key, 'node', ARGV[4], 'lease', int(now + lease))
keep(key, lease + 3600 * 1000000)
wake(ending)
return code
