-- Renews slots of one key. ARGV: name of the key, lease, and the slot ids.
local slots, lease = root .. 'k:' .. ARGV[2], tonumber(ARGV[3])
for i = 4, #ARGV do
  redis.call('ZADD', slots, int(now + lease), ARGV[i])
end
keep(slots, lease)
return 0
