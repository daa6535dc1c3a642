-- Grants one request against all of some keys, or against none of them, if budgets have
-- room.
-- ARGV: slot id, lease of slots, number of budgets, the budgets, number of keys; then for
-- each key: its name, slots, whether one is taken later (1) or now (0), number of windows,
-- and each window's limit and length.
-- Returns: what ledger's answer does; then for each key: slots in use, whether one was
-- free, and for each window: remaining, reset, wait.
local slot, lease = ARGV[2], tonumber(ARGV[3])
local arg = 4 + 5 * tonumber(ARGV[4])
local spent = budgets(5, arg)
local function read()
  arg = arg + 1
  return ARGV[arg]
end

-- demand returns the largest value that was asked for lately: two configurations may
-- ask different windows of one key.
local function demand(key, name, v, keepFor)
  local d = redis.call('HMGET', key, name, name .. 'At')
  local value, at = tonumber(d[1] or 0), tonumber(d[2] or 0)
  if v >= value or now - at >= keepFor then
    redis.call('HSET', key, name, int(v), name .. 'At', int(now))
    return v
  end
  return value
end

local keys, granted = {}, true
for _, b in ipairs(spent) do
  expire(b)
  local is = balance(b)
  granted = granted and (b.limit == 0 or is.used + is.held + b.want <= b.limit)
end
for i = 1, tonumber(read()) do
  local name = read()
  local k = {
    events = root .. 'l:' .. name, demand = root .. 'q:' .. name, slots = root .. 'k:' .. name,
    max = tonumber(read()), later = read() == '1', windows = {}, inUse = 0, free = true, at = now,
  }
  local longest, most = 0, 0
  for j = 1, tonumber(read()) do
    local w = {limit = tonumber(read()), length = tonumber(read())}
    longest, most = math.max(longest, w.length), math.max(most, w.limit)
    k.windows[j] = w
  end
  if k.max > 0 then
    redis.call('ZREMRANGEBYSCORE', k.slots, '-inf', int(now))
    k.inUse = redis.call('ZCARD', k.slots)
    k.free = k.inUse < k.max
    granted = granted and k.free
  end
  if #k.windows > 0 then
    local before = tonumber(redis.call('HGET', k.demand, 'longest') or 0)
    k.longest = demand(k.demand, 'longest', longest, before)
    k.most = demand(k.demand, 'most', most, before)
    keep(k.demand, k.longest)
    -- where the clock was set back, as after a failover, the events stay in order
    local newest = redis.call('ZRANGE', k.events, -1, -1, 'WITHSCORES')
    if newest[2] then k.at = math.max(now, tonumber(newest[2])) end
  end
  keys[i] = k
end

-- wait returns how long until a window has room.
local function wait(k, w)
  if w.limit < 1 then return math.max(w.length, 1) end
  if redis.call('ZCARD', k.events) < w.limit then return 0 end
  local e = redis.call('ZRANGE', k.events, int(-w.limit), int(-w.limit), 'WITHSCORES')
  return math.max(w.length - (k.at - tonumber(e[2])), 0)
end

for _, k in ipairs(keys) do
  for _, w in ipairs(k.windows) do
    granted = granted and wait(k, w) == 0
  end
end

if granted then
  for _, k in ipairs(keys) do
    if k.max > 0 then
      if not k.later then
        redis.call('ZADD', k.slots, int(now + lease), slot)
        keep(k.slots, lease)
      end
      k.inUse = k.inUse + 1
    end
    if #k.windows > 0 then
      redis.call('ZREMRANGEBYSCORE', k.events, '-inf', int(k.at - k.longest))
      redis.call('ZADD', k.events, int(k.at), redis.call('HINCRBY', k.demand, 'seq', 1))
      redis.call('ZREMRANGEBYRANK', k.events, 0, int(-(k.most + 1)))
      keep(k.events, k.longest + k.at - now)
    end
  end
end

local out = answer(granted and 1 or 0, spent)
for _, k in ipairs(keys) do
  out[#out + 1] = k.inUse
  out[#out + 1] = k.free and 1 or 0
  for _, w in ipairs(k.windows) do
    local inside = redis.call('ZCOUNT', k.events, '(' .. int(k.at - w.length), '+inf')
    local reset, pause = k.at, wait(k, w)
    if inside > 0 then
      reset = tonumber(redis.call('ZRANGE', k.events, -1, -1, 'WITHSCORES')[2]) + w.length
    end
    if pause > 0 then pause = pause + k.at - now end
    out[#out + 1] = int(math.max(w.limit - inside, 0))
    out[#out + 1] = int(reset)
    out[#out + 1] = int(pause)
  end
end
return out
