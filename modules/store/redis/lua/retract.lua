-- Removes messages if the last of them is the newest one. ARGV: end of the session's keys,
-- user, id, numbers of the first and of the last.
local s, id, first, last = sessionOf(ARGV[2], ARGV[3]), ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
if purge(s, id) == 0 then return 0 end
local oldest, next = unpack(redis.call('HMGET', s.meta, 'first', 'next'))
if first > last or last ~= tonumber(next) - 1 or redis.call('HEXISTS', s.messages, int(last)) == 0 then return 0 end
first = math.max(first, tonumber(oldest))
for seq = first, last do
  redis.call('HDEL', s.messages, int(seq))
  redis.call('ZREM', s.expiries, int(seq))
end
-- the same messages may be appended again
redis.call('HSET', s.meta, 'next', int(first), 'newest', '')
for i = first - 1, tonumber(oldest), -1 do
  local m = redis.call('HGET', s.messages, int(i))
  if m then
    local _, time = split(m)
    redis.call('ZADD', s.list, int(time), id)
    return 1
  end
end
remove(s, id)
return 1
