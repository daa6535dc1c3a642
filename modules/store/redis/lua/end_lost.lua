-- Ends a turn whose node is gone. ARGV: as those that publish.
-- Returns whether this call ended it.
local t = read(ARGV[2])
if not t or t.id ~= ARGV[3] or not t.lost then return 0 end
if t.gone then
  redis.call('DEL', turnOf(ARGV[2]), eventsOf(ARGV[2], t.id))
  return 0
end
publish(ARGV[2], t.id)
return 1
