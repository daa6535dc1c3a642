-- The counters of budgets. A counter is a hash with what is used and held; its holds
-- are a sorted set by the ends of their leases, and a hash of their amounts.

-- maxEntries and widths are those of limit.Tally: beyond maxEntries, amounts that were
-- settled less than a 512th of the window apart become one.
local maxEntries, widths = 1024, 512

-- doneFor is how long a settled reservation is known as such.
local doneFor = 120 * 1000000

local function counter(name) return root .. 'c:' .. name end

-- drop ends the hold of one counter.
local function drop(name, id)
  local amount = redis.call('HGET', root .. 'a:' .. name, id)
  if amount then
    redis.call('HDEL', root .. 'a:' .. name, id)
    redis.call('ZREM', root .. 'h:' .. name, id)
    redis.call('HINCRBY', counter(name), 'held', '-' .. amount)
  end
end

-- dropHold ends the hold of all counters.
local function dropHold(id)
  for _, name in ipairs(redis.call('SMEMBERS', root .. 'r:' .. id)) do drop(name, id) end
  redis.call('DEL', root .. 'r:' .. id)
end

local function isSettled(id)
  local at = redis.call('GET', root .. 'd:' .. id)
  return at and now - tonumber(at) < doneFor
end

-- budgets reads name, limit, want, until (microseconds, or 0) and window (0 for a
-- counter that does not slide) of each budget, from one argument to another.
local function budgets(from, to)
  local list = {}
  for i = from, to, 5 do
    list[#list + 1] = {
      name = ARGV[i], limit = tonumber(ARGV[i + 1]), want = tonumber(ARGV[i + 2]),
      ends = tonumber(ARGV[i + 3]), window = tonumber(ARGV[i + 4]),
    }
  end
  return list
end

-- amountOf returns what an entry of a window counts.
local function amountOf(entry) return tonumber(string.match(entry, ':(%d+)$')) end

-- expire forgets what no longer counts.
local function expire(b)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', root .. 'h:' .. b.name, '-inf', int(now))) do
    drop(b.name, id)
  end
  if b.window > 0 then
    local w = root .. 'w:' .. b.name
    local old = redis.call('ZRANGEBYSCORE', w, '-inf', int(now - b.window))
    local sum = 0
    for _, e in ipairs(old) do sum = sum + amountOf(e) end
    if #old > 0 then
      redis.call('ZREMRANGEBYRANK', w, 0, #old - 1)
      redis.call('HINCRBY', counter(b.name), 'used', int(-sum))
    end
  end
end

-- balance returns used, held, wait and reset. id is whose hold is not in the way.
local function balance(b, id)
  local c = redis.call('HMGET', counter(b.name), 'used', 'held', 'until')
  local used, held = tonumber(c[1] or 0), tonumber(c[2] or 0)
  if b.window == 0 then
    if c[3] and now >= tonumber(c[3]) then used = 0 end
    return {used = used, held = held, wait = 0, reset = now}
  end
  local w = root .. 'w:' .. b.name
  local wait, reset = 0, now
  local newest = redis.call('ZRANGE', w, -1, -1, 'WITHSCORES')
  if newest[2] then reset = tonumber(newest[2]) + b.window else used = 0 end
  if b.limit > 0 and newest[2] then
    local own = id and tonumber(redis.call('HGET', root .. 'a:' .. b.name, id) or 0) or 0
    local room, left = b.limit - b.want - held + own, used
    if left > room then
      local entries = redis.call('ZRANGE', w, 0, -1, 'WITHSCORES')
      for i = 1, #entries, 2 do
        left = left - amountOf(entries[i])
        if left <= room or left <= 0 then
          wait = tonumber(entries[i + 1]) + b.window - now
          break
        end
      end
    end
  end
  if held > 0 then reset = math.max(reset, now + b.window) end
  return {used = used, held = held, wait = wait, reset = reset}
end

-- use counts what was really used.
local function use(b)
  local c = counter(b.name)
  if b.window == 0 then
    local ends = redis.call('HGET', c, 'until')
    if ends and now >= tonumber(ends) then redis.call('HSET', c, 'used', 0) end
    redis.call('HINCRBY', c, 'used', int(b.want))
    if b.ends > 0 then
      redis.call('HSET', c, 'until', int(b.ends))
      keep(c, math.max(b.ends - now, 0))
    else
      redis.call('PERSIST', c)
    end
    return
  end
  if b.want <= 0 then return end
  local w, at, amount = root .. 'w:' .. b.name, now, b.want
  local newest = redis.call('ZRANGE', w, -1, -1, 'WITHSCORES')
  if newest[2] then
    local last = tonumber(newest[2])
    at = math.max(at, last)
    local width = math.max(math.floor(b.window / widths), 1)
    local close = redis.call('ZCARD', w) >= maxEntries and math.floor(last / width) == math.floor(at / width)
    if last == at or close then
      redis.call('ZREM', w, newest[1])
      amount = amount + amountOf(newest[1])
    end
  else
    redis.call('HSET', c, 'used', 0)
  end
  redis.call('ZADD', w, int(at), int(at) .. ':' .. int(amount))
  redis.call('HINCRBY', c, 'used', int(b.want))
  keep(w, b.window + at - now)
  keep(c, b.window + at - now)
end

local function answer(code, list, id)
  local out = {code}
  for _, b in ipairs(list) do
    local x = balance(b, id)
    out[#out + 1] = int(x.used)
    out[#out + 1] = int(x.held)
    out[#out + 1] = int(x.wait)
    out[#out + 1] = int(x.reset)
  end
  return out
end
