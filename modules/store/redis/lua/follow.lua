-- Reads events. ARGV: end of the session's keys, turn, number, and whether only that
-- turn is wanted, even if there is a newer one.
-- Returns false without a turn; else its id, its state, and then of each event: number,
-- kind, data.
local ending, since, n, only = ARGV[2], ARGV[3], ARGV[4], ARGV[5] == '1'
local t = read(ending)
local id, state = since, 'finished'
if not only then
  if not t or t.gone then return false end
  if t.id ~= since then n = '0' end
  id = t.id
elseif t and t.id == since and t.gone then
  return false
end
if t and t.id == id and t.running then state = t.lost and 'lost' or 'running' end
local found = {id, state}
for _, e in ipairs(redis.call('XRANGE', eventsOf(ending, id), '(' .. n .. '-0', '+')) do
  found[#found + 1] = string.match(e[1], '^%d+')
  found[#found + 1] = e[2][2]
  found[#found + 1] = e[2][4]
end
return found
