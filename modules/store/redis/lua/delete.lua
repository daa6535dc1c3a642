-- Deletes a session and its turn. ARGV: end of the session's keys, user, id, channel of
-- nodes. Returns whether there was one.
local ending, id = ARGV[2], ARGV[4]
local s = sessionOf(ending, ARGV[3])
if purge(s, id) == 0 then return 0 end
remove(s, id)
local key, t = turnOf(ending), read(ending)
if t then
  redis.call('DEL', eventsOf(ending, t.id))
  if t.running and not t.lost then
    -- it keeps the session busy until it has ended
    redis.call('HSET', key, 'gone', 1, 'cancelled', 1)
    redis.call('PUBLISH', ARGV[5] .. t.node, t.id)
  else
    redis.call('DEL', key)
  end
  wake(ending)
end
return 1
