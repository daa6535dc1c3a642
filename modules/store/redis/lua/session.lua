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

-- append appends the messages of the arguments from one on: expiry, time, record of
-- each. last is the id of the last one: if that is the newest already, they are there.
-- It returns the number of the first one, or nil without a session.
local function append(s, id, create, title, max, last, from)
  if purge(s, id) == 0 then
    if not create then return nil end
    redis.call('HSET', s.meta, 'title', title, 'created', ARGV[from + 1], 'first', 1, 'next', 1, 'latest', 1)
  end
  local meta = redis.call('HMGET', s.meta, 'first', 'next', 'latest', 'newest')
  local first, start, latest = tonumber(meta[1]), tonumber(meta[2]), tonumber(meta[3])
  if last ~= '' and meta[4] == last then return start - (#ARGV - from + 1) / 3 end
  local seq = start
  for i = from, #ARGV, 3 do
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
  redis.call('HSET', s.meta, 'first', int(first), 'next', int(seq), 'latest', int(latest), 'newest', last)
  redis.call('ZADD', s.list, ARGV[#ARGV - 1], id)
  reclaim(s, latest)
  purge(s, id)
  return start
end

-- history returns whether there are more messages, and then the number and the record
-- of each, in the order of reading: oldest first only with after alone. It ends after
-- limit messages, or with the one that makes their size exceed most, if that is not 0.
local function history(s, before, after, limit, most)
  local first, next = unpack(redis.call('HMGET', s.meta, 'first', 'next'))
  local low, high = math.max(tonumber(first), after + 1), tonumber(next) - 1
  if before > 0 then high = math.min(high, before - 1) end

  local from, to, step = high, low, -1
  if after > 0 and before == 0 then from, to, step = low, high, 1 end
  local found, bytes = {0}, 0
  local size = math.min(limit + 1, 200)
  while (to - from) * step >= 0 do
    local seqs = {}
    while #seqs < size and (to - from) * step >= 0 do
      seqs[#seqs + 1] = int(from)
      from = from + step
    end
    for i, m in ipairs(redis.call('HMGET', s.messages, unpack(seqs))) do
      if m then
        if #found > 2 * limit or most > 0 and bytes > most then
          found[1] = 1
          return found
        end
        local _, _, record = split(m)
        bytes = bytes + #record
        found[#found + 1] = seqs[i]
        found[#found + 1] = record
      end
    end
  end
  return found
end
