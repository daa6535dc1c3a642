-- Makes a turn the running one of its session. ARGV: end of the session's keys, turn,
-- node, lease. Returns 1, 0 if another one runs, or 3 if the node of another one is gone.
local ending, id, lease = ARGV[2], ARGV[3], tonumber(ARGV[5])
local key, t = turnOf(ending), read(ending)
if t and t.running and (t.id ~= id or t.gone) then
  if not t.lost then return 0 end
  if not t.gone then return 3 end
  t = nil
end
if not (t and t.running) then
  redis.call('DEL', key)
  redis.call('HSET', key, 'id', id, 'running', 1)
end
redis.call('HSET', key, 'node', ARGV[4], 'lease', int(now + lease))
keep(key, lease + 3600 * 1000000)
wake(ending)
return 1
