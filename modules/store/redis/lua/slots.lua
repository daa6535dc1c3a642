-- Slots that a script takes together with something else. The arguments from one on are:
-- slot id, lease, number of keys, and the name and the slots of each.

-- slotsEnd returns the last of these arguments.
local function slotsEnd(from) return from + 2 + 2 * tonumber(ARGV[from + 2]) end

-- slotsFree reports whether all keys have a slot left.
local function slotsFree(from)
  for i = from + 3, slotsEnd(from), 2 do
    local key = root .. 'k:' .. ARGV[i]
    redis.call('ZREMRANGEBYSCORE', key, '-inf', int(now))
    if redis.call('ZCARD', key) >= tonumber(ARGV[i + 1]) then return false end
  end
  return true
end

-- takeSlots takes one of each.
local function takeSlots(from)
  local lease = tonumber(ARGV[from + 1])
  for i = from + 3, slotsEnd(from), 2 do
    local key = root .. 'k:' .. ARGV[i]
    redis.call('ZADD', key, int(now + lease), ARGV[from])
    keep(key, lease)
  end
end
