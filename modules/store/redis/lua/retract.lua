-- Removes a message if it is the newest one. ARGV: end of the session's keys, user, id,
-- number.
local s, id, seq = sessionOf(ARGV[2], ARGV[3]), ARGV[4], tonumber(ARGV[5])
if purge(s, id) == 0 then return 0 end
local first, next = unpack(redis.call('HMGET', s.meta, 'first', 'next'))
if seq ~= tonumber(next) - 1 or redis.call('HDEL', s.messages, int(seq)) == 0 then return 0 end
redis.call('ZREM', s.expiries, int(seq))
redis.call('HSET', s.meta, 'next', int(seq))
for i = seq - 1, tonumber(first), -1 do
  local m = redis.call('HGET', s.messages, int(i))
  if m then
    local _, time = split(m)
    redis.call('ZADD', s.list, int(time), id)
    return 1
  end
end
remove(s, id)
return 1
