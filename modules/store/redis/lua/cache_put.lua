-- Keeps a value. ARGV: the end of its key, the value, and for how long.
local key, ttl = root .. ARGV[2], tonumber(ARGV[4])
redis.call('DEL', key)
redis.call('HSET', key, 'value', ARGV[3], 'until', int(now + ttl))
keep(key, ttl)
return 0
