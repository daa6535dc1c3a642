-- Gives back a slot of some keys. ARGV: slot id, then the names of the keys.
for i = 3, #ARGV do
  redis.call('ZREM', root .. 'k:' .. ARGV[i], ARGV[2])
end
return 0
