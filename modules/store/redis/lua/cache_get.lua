-- Reads a value. ARGV: the end of its key.
local v = redis.call('HMGET', root .. ARGV[2], 'value', 'until')
if not v[1] or now >= tonumber(v[2]) then return false end
return v[1]
