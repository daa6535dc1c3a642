-- Appends messages. ARGV: end of the session's keys, user, id, create, title, max, time
-- of the first message, id of the last one, turn, and then for each message: expiry,
-- time, record. Messages whose last one is the newest already are there. If a turn is
-- named, it has to run.
-- Returns the number of the first one, or false without a session.
local s, id = sessionOf(ARGV[2], ARGV[3]), ARGV[4]
local max = tonumber(ARGV[7])
if ARGV[10] ~= '' then
  local t = read(ARGV[2])
  if not t or t.id ~= ARGV[10] or not t.running or t.gone then return false end
end
if purge(s, id) == 0 then
  if ARGV[5] ~= '1' then return false end
  redis.call('HSET', s.meta, 'title', ARGV[6], 'created', ARGV[8], 'first', 1, 'next', 1, 'latest', 1)
end
local meta = redis.call('HMGET', s.meta, 'first', 'next', 'latest', 'newest')
local first, start, latest = tonumber(meta[1]), tonumber(meta[2]), tonumber(meta[3])
if ARGV[9] ~= '' and meta[4] == ARGV[9] then return int(start - (#ARGV - 10) / 3) end
local seq = start
for i = 11, #ARGV, 3 do
  local expiry = tonumber(ARGV[i])
  if expiry == 0 or expiry > nowMs then
    redis.call('HSET', s.messages, int(seq), ARGV[i] .. ':' .. ARGV[i + 1] .. ':' .. ARGV[i + 2])
    if expiry ~= 0 then redis.call('ZADD', s.expiries, ARGV[i], int(seq)) end
    if expiry == 0 or latest == 0 then latest = 0 else latest = math.max(latest, expiry) end
  end
  seq = seq + 1
end
if max > 0 then
  local over = redis.call('HLEN', s.messages) - max
  while over > 0 do
    local n = redis.call('HDEL', s.messages, int(first))
    if n == 1 then redis.call('ZREM', s.expiries, int(first)) end
    over, first = over - n, first + 1
  end
end
redis.call('HSET', s.meta, 'first', int(first), 'next', int(seq), 'latest', int(latest), 'newest', ARGV[9])
redis.call('ZADD', s.list, ARGV[#ARGV - 1], id)
reclaim(s, latest)
purge(s, id)
return int(start)
