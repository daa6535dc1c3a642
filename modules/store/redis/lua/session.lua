-- Sessions. Times and expiries of messages are milliseconds. A stored message is its
-- expiry (0 for none), its time and its record, with colons between.
local nowMs = math.floor(now / 1000)

local function sessionOf(ending, user)
  return {meta = root .. 's:' .. ending, messages = root .. 'm:' .. ending,
    expiries = root .. 'x:' .. ending, list = root .. 'u:' .. user}
end

local function split(message)
  local expiry, time, record = string.match(message, '^(%-?%d+):(%-?%d+):(.*)$')
  return tonumber(expiry), tonumber(time), record
end

-- remove deletes a session.
local function remove(s, id)
  redis.call('DEL', s.meta, s.messages, s.expiries)
  redis.call('ZREM', s.list, id)
end

-- purge deletes the messages that have expired, and the session with the last of them.
-- It returns how many are left.
local function purge(s, id)
  local gone = redis.call('ZRANGEBYSCORE', s.expiries, '-inf', int(nowMs))
  for _, seq in ipairs(gone) do redis.call('HDEL', s.messages, seq) end
  if #gone > 0 then redis.call('ZREMRANGEBYSCORE', s.expiries, '-inf', int(nowMs)) end
  local n = redis.call('HLEN', s.messages)
  if n == 0 then remove(s, id) end
  return n
end

-- reclaim has Redis drop a session when all of its messages have expired.
local function reclaim(s, latest)
  for _, key in ipairs({s.meta, s.messages, s.expiries}) do
    if latest == 0 then
      redis.call('PERSIST', key)
    else
      redis.call('PEXPIRE', key, int(math.max(latest - nowMs, 0) + 1000))
    end
  end
  if latest == 0 then
    redis.call('PERSIST', s.list)
  elseif redis.call('PTTL', s.list) ~= -1 or redis.call('ZCARD', s.list) == 1 then
    keep(s.list, (latest - nowMs) * 1000)
  end
end
