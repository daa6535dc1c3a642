-- Deletes a session and its turn. ARGV: end of the session's keys, user, id, channel of
-- nodes. Returns whether there was one.
local ending, id = ARGV[2], ARGV[4]
local s = sessionOf(ending, ARGV[3])
if purge(s, id) == 0 then return 0 end
remove(s, id)
local t = read(ending)
if t then
  if t.running and not t.lost then
    -- it keeps the session busy until it has ended
    redis.call('DEL', eventsOf(ending, t.id))
    redis.call('HSET', turnOf(ending), 'gone', 1, 'cancelled', 1)
    redis.call('PUBLISH', ARGV[5] .. t.node, t.id)
  else
    forget(ending, t.id)
  end
  wake(ending)
end
return 1
