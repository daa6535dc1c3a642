-- Appends events to the running turn, renews its lease and may end it. ARGV: end of the
-- session's keys, turn, lease, for how long a finished turn is kept (-1: it goes on),
-- and then of each event: number, kind, data.
-- Returns 0 if the turn does not run, 2 if it was cancelled, else 1.
local ending, id = ARGV[2], ARGV[3]
local lease, keepFor = tonumber(ARGV[4]), tonumber(ARGV[5])
local key, t = turnOf(ending), read(ending)
if not t or t.id ~= id or not t.running then return 0 end
local events = eventsOf(ending, id)
if t.gone then
  if keepFor >= 0 then redis.call('DEL', key, events) end
  return 0
end
local last = 0
if #ARGV > 5 then
  local newest = redis.call('XREVRANGE', events, '+', '-', 'COUNT', 1)
  if newest[1] then last = tonumber(string.match(newest[1][1], '^%d+')) end
end
for i = 6, #ARGV, 3 do
  -- one that is there already was sent by a call whose answer got lost
  if tonumber(ARGV[i]) > last then
    redis.call('XADD', events, ARGV[i] .. '-0', 'k', ARGV[i + 1], 'd', ARGV[i + 2])
  end
end
if keepFor < 0 then
  redis.call('HSET', key, 'lease', int(now + lease))
  keep(key, lease + 3600 * 1000000)
  keep(events, lease + 3600 * 1000000)
elseif keepFor == 0 then
  redis.call('DEL', key, events)
else
  redis.call('HSET', key, 'running', 0, 'ends', int(now + keepFor))
  redis.call('PEXPIRE', key, int(keepFor / 1000 + 1000))
  redis.call('PEXPIRE', events, int(keepFor / 1000 + 1000))
end
if #ARGV > 5 or keepFor >= 0 then wake(ending) end
return t.cancelled and 2 or 1
