-- Every script begins with this. KEYS[1] is what all keys of the tenant begin with,
-- ARGV[1] the time in microseconds, or 0 for the server's.
local root = KEYS[1]
local now = tonumber(ARGV[1])
if now == 0 then
  local t = redis.call('TIME')
  now = t[1] * 1000000 + t[2]
end

-- int writes a number as Redis reads it, whatever its size.
local function int(n) return string.format('%.0f', n) end

-- keep has Redis drop a key after some microseconds, and not before an earlier call
-- wanted it to. What a script reads does not depend on it: it only gives room back.
local function keep(key, us)
  local ms = math.ceil(us / 1000) + 1000
  if ms > redis.call('PTTL', key) then redis.call('PEXPIRE', key, int(ms)) end
end
